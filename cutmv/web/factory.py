"""The application factory."""

from flask import Flask

from cutmv.app import app as celery_app
from cutmv.jobs.janitor import Janitor
from cutmv.jobs.submit import Dispatcher
from cutmv.progress import EventReceiver, Hub
from cutmv.services import Services
from cutmv.services import services as process_services
from cutmv.web import health, jobs, live, openapi, page, problems, queue, security, uploads
from cutmv.web import metrics as metering
from cutmv.web.metrics import Metrics
from cutmv.web.state import EXTENSION, Web

#: Bytes of a JSON body. Uploads set their own limit.
MAX_BODY_BYTES = 1_000_000


def create_app(services: Services | None = None, *, start_background: bool = False) -> Flask:
    """The web application on `services` (default: this process's, from its environment).

    With `start_background`, what resumes and expires jobs and receives progress runs beside it.
    Whoever makes the application ends it by `web_of(app).close()`.
    """
    services = services or process_services()
    # Celery binds its tasks at the first use, and only half for a second thread that comes then.
    celery_app.finalize()
    hub, metrics = Hub(), Metrics(services.store)
    dispatcher = Dispatcher(services, hub)
    background = _started(dispatcher, hub) if start_background else ()
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions[EXTENSION] = Web(services, hub, dispatcher, metrics, background)
    # Counted first, so that what is refused counts too.
    metering.register(app, metrics)
    security.register(app)
    problems.register(app)
    live.register(app)
    for module in (uploads, jobs, queue, health, openapi, page):
        app.register_blueprint(module.blueprint)
    return app


def _started(dispatcher: Dispatcher, hub: Hub) -> tuple[Janitor | EventReceiver, ...]:
    parts: list[Janitor | EventReceiver] = [Janitor(dispatcher)]
    settings = dispatcher.services.settings
    if settings.mode == "redis" or settings.edge_url:
        # In eager mode progress comes by itself; over Cloudflare without the edge Worker's hub by
        # webhook alone, since to listen for events would cost two pulls a second.
        parts.append(EventReceiver(celery_app, hub))
    for part in parts:
        part.start()
    return tuple(parts)
