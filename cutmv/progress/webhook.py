"""Progress by signed webhook, from workers that share nothing with the web server but a secret.

The signature is that of Standard Webhooks; see `cutmv.transports.cloudflare.edge`.
"""

import json
import logging
import random
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import httpx

from cutmv.config import WEBHOOK_PURPOSE, ConfigError, Settings
from cutmv.logs import Outage
from cutmv.progress.dropped import drop
from cutmv.progress.event import ProgressEvent
from cutmv.progress.outbox import Outbox
from cutmv.transports.cloudflare.edge import Rejected as WebhookRejected
from cutmv.transports.cloudflare.edge import signature

#: Seconds that one request may take.
REQUEST_TIMEOUT_S = 5.0
#: Requests before the events of a batch are dropped.
MAX_TRIES = 4

#: What a worker's report is signed for.
WEBHOOK = signature.Purpose(*WEBHOOK_PURPOSE)

log = logging.getLogger(__name__)


def verify(
    secret: str,
    headers: Mapping[str, str],
    read_body: Callable[[], bytes],
    accept: Callable[[str], bool],
) -> list[ProgressEvent]:
    """The events of a webhook, without those that are not ours.

    The names of `headers` are in lower case. `read_body` is called once the headers are those of a
    signed request; `accept` tells whether the request of an id is the first. Raises
    WebhookRejected, with the status to answer: 401 not signed by us or too old, 409 received
    before, 400 not what we send.
    """
    claim = signature.Claim.read(headers)
    body = read_body()
    claim.verify(secret, WEBHOOK, body)
    if not accept(claim.request_id):
        raise WebhookRejected(409, "This request was received before.")
    try:
        events = json.loads(body)["events"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WebhookRejected(400, 'The body must be JSON of the form {"events": […]}.') from error
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise WebhookRejected(400, "`events` must be a list of objects.")
    return [event for fields in events if (event := ProgressEvent.from_wire(fields))]


def check_secret(settings: Settings, *hosts: str) -> None:
    """Refuse a secret that might be guessed where reports leave or reach this machine.

    `hosts` are where a server listens; it may be reached by the names of CUTMV_URL and CUTMV_HOSTS,
    and reports go to that of WEBHOOK_URL, too. Raises ConfigError.
    """
    ends = [*hosts, *settings.access.hosts] if hosts else []
    if settings.webhook_url:
        ends.append(urlsplit(settings.webhook_url).hostname or "")
    if signature.too_short(settings.webhook_secret) and not all(map(signature.is_loopback, ends)):
        raise ConfigError(
            "WEBHOOK_SECRET, or CUTMV_SECRET_KEY where there is none, has less than"
            f" {signature.MIN_KEY_BYTES} bytes, which is allowed on loopback alone: make one by"
            ' `echo "whsec_$(openssl rand -base64 32)"`.'
        )


class WebhookSender(Outbox):
    """Posts events to the webhook at `url`, signed with `secret`."""

    def __init__(self, url: str, secret: str) -> None:
        self._url, self._secret = url, secret
        self._client = httpx.Client(timeout=REQUEST_TIMEOUT_S)
        self._outage = Outage(log, "the progress webhook", "progress comes from the job store")
        super().__init__("webhook")

    def close(self) -> None:
        """See Outbox."""
        super().close()
        self._client.close()

    def deliver(self, events: list[ProgressEvent]) -> None:
        """See Outbox: all in one request, tried up to MAX_TRIES times."""
        body = json.dumps({"events": [event.to_wire() for event in events]}).encode()
        # All tries have one id, by which the receiver knows a batch that it has taken already.
        webhook_id = signature.new_id()
        reason = ""
        for attempt in range(MAX_TRIES):
            if attempt:
                self.closing.wait(random.uniform(0.0, 0.5 * 2**attempt))
            headers = {
                "content-type": "application/json",
                **signature.headers(self._secret, WEBHOOK, body, webhook_id),
            }
            try:
                answer = self._client.post(self._url, content=body, headers=headers)
            except httpx.HTTPError as error:
                reason = type(error).__name__
                continue
            # 409: an earlier try arrived, and its answer was lost.
            if answer.is_success or answer.status_code == 409:
                self._outage.ended()
                return
            reason = f"HTTP {answer.status_code}"
            if answer.is_client_error and answer.status_code not in (408, 429):
                break
        self._outage.began(reason)
        drop(len(events))
