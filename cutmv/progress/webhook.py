"""Progress by signed webhook, from workers that share nothing with the web server but a secret.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over
`id.timestamp.body`, in the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import logging
import random
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import httpx

from cutmv.progress.outbox import Outbox

#: Seconds that a timestamp may be off, either way; also how long an id is remembered.
TOLERANCE_S = 300.0
#: Ids remembered against replay: more than a server gets in the tolerance.
MAX_SEEN = 100_000
#: Seconds for one request, and how often it is tried before its events are dropped.
TIMEOUT_S = 5.0
MAX_TRIES = 4
#: Bytes of a body that is read at all: a batch of some thousand events.
MAX_BODY_BYTES = 1_000_000

#: Seconds since 1970, in digits enough for every date: nobody has proved anything yet, and Python
#: refuses to read numbers of thousands of digits.
_STAMP = re.compile(r"[0-9]{1,12}")

log = logging.getLogger(__name__)


class WebhookRejected(Exception):
    """A webhook that is not to be believed; `status` is the HTTP status to answer with."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class SeenIds:
    """The ids of webhooks accepted lately, so that none is accepted twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def add(self, webhook_id: str, now: float) -> bool:
        """Remember an id; False when it is known already."""
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < now - 2 * TOLERANCE_S:
                self._seen.popitem(last=False)
            if webhook_id in self._seen or len(self._seen) >= MAX_SEEN:
                return False
            self._seen[webhook_id] = now
            return True


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header of a body; `timestamp` in seconds since 1970."""
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, *, seen: SeenIds
) -> list[dict[str, Any]]:
    """The events of a webhook; the names of `headers` are in lower case.

    Raises WebhookRejected: 401 not signed by us or too old, 409 seen before, 400 not what we
    send, 413 too large.
    """
    if len(body) > MAX_BODY_BYTES:
        raise WebhookRejected(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
    webhook_id, given = headers.get("webhook-id", ""), headers.get("webhook-signature", "")
    stamp = headers.get("webhook-timestamp", "")
    if not webhook_id or not given or not _STAMP.fullmatch(stamp):
        raise WebhookRejected(401, "The webhook is not signed: its three headers are needed.")
    expected = sign(secret, webhook_id, int(stamp), body).encode()
    # A sender that changes its secret sends two signatures, separated by a space.
    if not any(hmac.compare_digest(expected, one.encode()) for one in given.split(" ")):
        raise WebhookRejected(401, "The signature is wrong: the two ends have different secrets.")
    now = time.time()
    if abs(now - int(stamp)) > TOLERANCE_S:
        raise WebhookRejected(401, "The timestamp is too far from now: check both clocks.")
    if not seen.add(webhook_id, now):
        raise WebhookRejected(409, "This webhook was received before.")
    try:
        events = json.loads(body)["events"]
    except (ValueError, KeyError, TypeError) as error:
        raise WebhookRejected(400, 'The body must be JSON of the form {"events": […]}.') from error
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise WebhookRejected(400, "`events` must be a list of objects.")
    return events


def _key(secret: str) -> bytes:
    # Standard Webhooks writes secrets in base64 after a prefix; any other string is its bytes.
    if secret.startswith("whsec_"):
        with contextlib.suppress(binascii.Error):
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


class WebhookSender(Outbox):
    """Posts events to a URL, signed."""

    def __init__(self, url: str, secret: str) -> None:
        self._url, self._secret = url, secret
        self._client = httpx.Client(timeout=TIMEOUT_S)
        super().__init__("webhook")

    def close(self) -> None:
        """See Outbox."""
        super().close()
        self._client.close()

    def deliver(self, events: list[dict[str, Any]]) -> None:
        """See Outbox: all in one request, tried a few times."""
        body = json.dumps({"events": events}).encode()
        webhook_id = "msg_" + secrets.token_hex(16)
        reason = ""
        for attempt in range(MAX_TRIES):
            if attempt:
                self.closing.wait(random.uniform(0.0, 0.5 * 2**attempt))
            now = int(time.time())
            headers = {
                "content-type": "application/json",
                "webhook-id": webhook_id,
                "webhook-timestamp": str(now),
                "webhook-signature": sign(self._secret, webhook_id, now, body),
            }
            try:
                answer = self._client.post(self._url, content=body, headers=headers)
            except httpx.HTTPError as error:
                reason = type(error).__name__
                continue
            # 409: an earlier try arrived, and only its answer was lost.
            if answer.is_success or answer.status_code == 409:
                return
            reason = f"HTTP {answer.status_code}"
            if answer.is_client_error and answer.status_code not in (408, 429):
                break
        log.warning("progress webhook dropped a batch: %s", reason)
