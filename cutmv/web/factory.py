"""The application factory."""

import threading
from collections.abc import Sequence

from flask import Flask

from cutmv.app import app as celery_app
from cutmv.dispatch import Dispatcher, Janitor
from cutmv.monitoring import Monitor
from cutmv.progress import EventReceiver, Live, ProgressFeed
from cutmv.services import Services
from cutmv.services import services as process_services
from cutmv.web import (
    admission,
    auth,
    live,
    metrics,
    operators,
    security,
    spans,
)
from cutmv.web.api import (
    account,
    health,
    jobs,
    keys,
    openapi,
    people,
    problems,
    queue,
)
from cutmv.web.api.hooks import routes as hooks
from cutmv.web.api.shares import routes as shares
from cutmv.web.api.timeline import clip_lists, overviews, proxies, suggestions
from cutmv.web.api.uploads import multipart, whole
from cutmv.web.checks import Checks
from cutmv.web.door import Door
from cutmv.web.hooks import HookSender
from cutmv.web.job_mails import JobMailer
from cutmv.web.pages import api_page, page, problem, shared, webhooks
from cutmv.web.sockets import SocketThread
from cutmv.web.state import EXTENSION, Background, Web, web_of
from cutmv.web.versions import versioned

#: Bytes of a JSON body. Uploads set their own limit.
MAX_BODY_BYTES = 1_000_000


def create_app(
    services: Services | None = None,
    *,
    start_background: bool = False,
    addresses: Sequence[str] | None = None,
) -> Flask:
    """The web application on `services` (default: this process's, from its environment).

    `addresses` are those that its server listens on. Where they are not known, people must sign in,
    until `cutmv.web.state.listen` tells them.

    With `start_background`, a janitor, a receiver of progress events and health checks run beside
    it. The caller ends the application by `web_of(app).close()`. Raises ConfigError, and as
    `Services.open`.
    """
    services = services or process_services()
    # Celery binds its tasks at the first use, and a second thread could find them half bound.
    celery_app.finalize()
    feed = ProgressFeed()
    looking = Live(services.store, feed)
    sockets = SocketThread(lambda onlooker: bool(onlooker.is_good(services)))
    dispatcher = Dispatcher(services, feed)
    janitor = Janitor(dispatcher) if start_background else None
    monitor = Monitor(dispatcher, janitor)
    figures = metrics.Metrics(monitor)
    checks = Checks(services)
    app = Flask(__name__)
    sender = HookSender(services, lambda: web_of(app).hooks_anywhere)
    always = (checks, looking, sockets, monitor, sender)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions[EXTENSION] = Web(
        services,
        feed,
        looking,
        sockets,
        dispatcher,
        monitor,
        figures,
        Door.of(services.settings, addresses),
        checks,
        threading.BoundedSemaphore(services.settings.limits.probes),
        _parts(monitor, feed, (janitor, *always)) if janitor else (),
    )
    spans.register(app)
    # Metrics come first, so that they count refused requests too.
    metrics.register(app, figures)
    security.register(app)
    problems.register(app)
    problem.register(app)
    admit = admission.register(app)
    auth.register(app)
    app.before_request(admit)  # the limits are those of the person who asks
    live.register(app)
    operators.register(app)
    of_uploads = (whole, multipart, clip_lists, suggestions, overviews, proxies)
    ours = (jobs, shares, hooks, account, keys, people, queue, health, openapi)
    for module in (*of_uploads, *ours, api_page, page, shared, webhooks):
        app.register_blueprint(module.blueprint)
    app.wsgi_app = versioned(app.wsgi_app)  # type: ignore[assignment, method-assign]
    for part in web_of(app).background:
        part.start()
    return app


def _parts(
    monitor: Monitor, feed: ProgressFeed, always: tuple[Background, ...]
) -> tuple[Background, ...]:
    """What runs beside the requests: that which does `always`, and what the settings ask for."""
    services, parts = monitor.dispatcher.services, list(always)
    if services.settings.mode == "redis" or services.settings.edge_url:
        # In eager mode the steps run here. Over Cloudflare without the edge Worker's hub, workers
        # use the webhook, since receiving events would cost two pulls a second.
        parts.append(EventReceiver(celery_app, feed))
    if services.settings.access.smtp_url is not None:
        parts.append(JobMailer(services))
    return tuple(parts)
