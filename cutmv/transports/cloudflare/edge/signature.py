"""Signs and verifies requests by Standard Webhooks (https://www.standardwebhooks.com).

A signature is an HMAC-SHA256 over ``id.timestamp.body``, in the headers ``webhook-id``,
``webhook-timestamp`` and ``webhook-signature``. A secret is ``whsec_`` and base64, or any other
text. Where a secret is expected, several of the first kind may be given, separated by white space
or commas: each is valid, so that an operator can change it at one end after the other.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import re
import secrets as randomness
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

#: The start of a secret in base64.
WHSEC_PREFIX = "whsec_"

#: Seconds that a timestamp may be off, either way; also how long an id is remembered.
TOLERANCE = 300.0

#: Ids remembered against replay: more than a server gets in the tolerance.
MAX_SEEN = 100_000

#: Seconds since 1970, in as many digits as any date needs: the sender is not verified yet, and
#: Python refuses to read numbers of thousands of digits.
_STAMP = re.compile(r"[0-9]{1,12}")


class Rejected(Exception):
    """Raised for a request that fails verification; `status` is the HTTP status of the response."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class SeenIds:
    """The ids of recently accepted requests, so that none is accepted twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def add(self, request_id: str, now: float) -> bool:
        """Remember an id; return False when it is known already, or there are `MAX_SEEN`."""
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < now - 2 * TOLERANCE:
                self._seen.popitem(last=False)
            if request_id in self._seen or len(self._seen) >= MAX_SEEN:
                return False
            self._seen[request_id] = now
            return True


def sign(secrets: str, request_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` of a body; `timestamp` in seconds since 1970."""
    return " ".join(_signatures(secrets, request_id, timestamp, body))


def new_id() -> str:
    """Return an id for a request."""
    return f"msg_{randomness.token_hex(16)}"


def headers(secrets: str, body: bytes, request_id: str | None = None) -> dict[str, str]:
    """Return the headers of a request with this body, and with a new id unless one is given."""
    request_id, now = request_id or new_id(), int(time.time())
    return {
        "webhook-id": request_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secrets, request_id, now, body),
    }


def verify(secrets: str, given: Mapping[str, str], body: bytes, *, seen: SeenIds) -> None:
    """Verify that a request's sender knows a secret; `given` has lower-case header names.

    Raises `Rejected`: 401 where the signature is missing or wrong or the timestamp is too far from
    now, 409 where the request was received before.
    """
    request_id, signatures = given.get("webhook-id", ""), given.get("webhook-signature", "")
    stamp = given.get("webhook-timestamp", "")
    if not request_id or not signatures or not _STAMP.fullmatch(stamp):
        raise Rejected(401, "The request is not signed: its three webhook headers are needed.")
    expected = [each.encode() for each in _signatures(secrets, request_id, int(stamp), body)]
    # A sender that changes its secret sends two signatures, separated by a space.
    claimed = [each.encode() for each in signatures.split(" ")]
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in claimed):
        raise Rejected(401, "The signature is wrong: the two ends have different secrets.")
    now = time.time()
    if abs(now - int(stamp)) > TOLERANCE:
        raise Rejected(401, "The timestamp is too far from now: check both clocks.")
    if not seen.add(request_id, now):
        raise Rejected(409, "This request was received before.")


def _signatures(secrets: str, request_id: str, timestamp: int, body: bytes) -> list[str]:
    signed = b".".join((request_id.encode(), str(timestamp).encode(), body))
    digests = (
        hmac.new(_key(secret), signed, hashlib.sha256).digest() for secret in _split(secrets)
    )
    return ["v1," + base64.b64encode(digest).decode() for digest in digests]


def _split(secrets: str) -> list[str]:
    several = [each for each in re.split(r"[\s,]+", secrets) if each]
    # Any other text is a single secret, spaces included: its words would be weak secrets.
    return several if all(each.startswith(WHSEC_PREFIX) for each in several) else [secrets]


def _key(secret: str) -> bytes:
    if secret.startswith(WHSEC_PREFIX):
        with contextlib.suppress(binascii.Error):
            return base64.b64decode(secret.removeprefix(WHSEC_PREFIX), validate=True)
    return secret.encode()
