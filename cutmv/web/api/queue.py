"""The queue's status, and the webhook by which workers send their progress."""

from functools import partial

from flask import Blueprint, Response, jsonify, request

from cutmv.config import WEBHOOK_PATH
from cutmv.progress import WebhookRejected, accept, verify
from cutmv.transports.cloudflare import threads_report
from cutmv.transports.cloudflare.edge import signature
from cutmv.web.api.problems import Problem, whole_body
from cutmv.web.state import web

blueprint = Blueprint("queue", __name__)


@blueprint.get("/api/queue-status")
def status() -> Response:
    """Whether the queue works, asked a few seconds ago at most; which of our threads are unwell."""
    troubled = threads_report()["troubled"].items()
    unwell = [name for name, each in troubled if not each["well"]]
    return jsonify(**web().dispatcher.status(), unwell_threads=unwell)


@blueprint.post(WEBHOOK_PATH)
def progress() -> tuple[str, int]:
    """Take `{"events": […]}`, signed as Standard Webhooks are, and tell those who watch."""
    here = web()
    secret = here.services.settings.webhook_secret
    if signature.too_short(secret) and (here.door.sign_in or not _from_here()):
        raise Problem(
            503, f"WEBHOOK_SECRET has less than {signature.MIN_KEY_BYTES} bytes: set another."
        )
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        events = verify(secret, headers, whole_body, partial(accept, here.services.store))
    except WebhookRejected as error:
        raise Problem(error.status, str(error)) from None
    for event in events:
        here.feed.publish(event)
    return "", 204


def _from_here() -> bool:
    """Whether a process of this machine asks, by no proxy."""
    return signature.is_loopback(request.remote_addr) and "X-Forwarded-For" not in request.headers
