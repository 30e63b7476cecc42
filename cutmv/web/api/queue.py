"""The queue's status, and the webhook by which workers send their progress."""

from flask import Blueprint, Response, jsonify, request

from cutmv.config import WEBHOOK_PATH
from cutmv.progress import WebhookRejected, verify
from cutmv.transports.cloudflare import threads_report
from cutmv.web.api.problems import Problem
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
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        events = verify(secret, headers, request.get_data(), seen=here.seen)
    except WebhookRejected as error:
        raise Problem(error.status, str(error)) from None
    for event in events:
        here.feed.publish(event)
    return "", 204
