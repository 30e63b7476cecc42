"""WebSockets: of a page, with all of somebody's jobs (`all_jobs`), and of one job (`one_job`).

`sockets` has what both have in common. Each holds a thread of the server, and all together have a
bound, as those of each client do (`cutmv.web.admission`).
"""

import threading
from collections.abc import Callable

from flask import Blueprint, Flask, g, request
from flask_sock import Sock
from simple_websocket import Server

from cutmv.progress import View
from cutmv.web.access import person
from cutmv.web.live.all_jobs import MAX_ID_CHARS, position, send_all
from cutmv.web.live.one_job import check_before_upgrade, send_job
from cutmv.web.live.sockets import CLOSE_TRY_AGAIN_LATER, end, own_the_socket, serve
from cutmv.web.state import web, web_of

__all__ = ["register"]

#: Seconds between pings. A client that has not answered one by the next has gone.
PING_S = 20
#: Bytes of the largest message from a client, which says no more than which job it shows.
MAX_MESSAGE_BYTES = 128


def register(app: Flask) -> None:
    """Add the routes to `app`."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "ping_interval": PING_S,
        "max_message_size": MAX_MESSAGE_BYTES,
    }
    blueprint = Blueprint("live", __name__)
    blueprint.before_request(check_before_upgrade)
    blueprint.before_request(own_the_socket)
    sock = Sock()
    free = threading.BoundedSemaphore(web_of(app).services.settings.limits.all_sockets)

    def bounded(client: Server, send: Callable[[], None]) -> None:
        if not free.acquire(blocking=False):
            end(client, CLOSE_TRY_AGAIN_LATER)
            return
        try:
            with web().metrics.websockets.track_inprogress():
                end(client, serve(send, g.still_in))
        finally:
            free.release()

    @sock.route("/ws/jobs/<job_id>", bp=blueprint)  # type: ignore[untyped-decorator]
    def watch(client: Server, job_id: str) -> None:
        """Follow a job."""
        bounded(client, lambda: send_job(client, job_id, g.still_in))

    @sock.route("/ws/jobs", bp=blueprint)  # type: ignore[untyped-decorator]
    def watch_all(client: Server) -> None:
        """Follow one's jobs, and one of them in detail."""
        view = View(person().sees, request.args.get("watch", "")[:MAX_ID_CHARS] or None)
        bounded(client, lambda: send_all(client, view, position(request.args), g.still_in))

    app.register_blueprint(blueprint)
