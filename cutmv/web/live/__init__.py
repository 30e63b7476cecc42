"""WebSockets: of a page, with all of somebody's jobs (`all_jobs`), and of one job (`one_job`).

A request does the handshake, where who may see what is decided as for any other, and its answer is
an `upgrade`. Then the thread of `cutmv.web.sockets` has the WebSocket, and `cutmv.progress.Live`
tells it what happens; `watching` has what both kinds have in common. All together have a bound, as
those of each client do (`cutmv.web.admission`).
"""

from flask import Blueprint, Flask

from cutmv.web.live import all_jobs, one_job
from cutmv.web.live.upgrade import Upgrade
from cutmv.web.state import web_of

__all__ = ["Upgrade", "register"]


def register(app: Flask) -> None:
    """Add the routes to `app`."""
    here = web_of(app)
    here.metrics.websockets.set_function(lambda: here.sockets.count)
    blueprint = Blueprint("live", __name__)
    blueprint.get("/ws/jobs/<job_id>", websocket=True)(one_job.watch)
    blueprint.get("/ws/jobs", websocket=True)(all_jobs.watch_all)
    app.register_blueprint(blueprint)
