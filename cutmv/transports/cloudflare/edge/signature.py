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
from collections.abc import Mapping

#: The start of a secret in base64.
WHSEC_PREFIX = "whsec_"

#: Seconds that a timestamp may be off, either way.
TOLERANCE = 300.0

#: Seconds since 1970, in as many digits as any date needs: the sender is not verified yet, and
#: Python refuses to read numbers of thousands of digits.
_STAMP = re.compile(r"[0-9]{1,12}")


class Rejected(Exception):
    """Raised for a request that is refused, with the status and the headers of the response."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


class SeenIds:
    """The ids of accepted requests, so that none is accepted twice.

    An id is remembered for as long as its timestamp is accepted, and no longer. Only signed
    requests come here, so there are as many ids as those that know a secret send in that time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._by_timestamp: dict[int, list[str]] = {}
        self._swept_at = 0

    def add(self, request_id: str, timestamp: int, now: float) -> bool:
        """Remember the id of a request of this timestamp; return False when it is known already."""
        with self._lock:
            if int(now) != self._swept_at:
                self._swept_at = int(now)
                for old in [each for each in self._by_timestamp if each < now - TOLERANCE]:
                    self._seen.difference_update(self._by_timestamp.pop(old))
            if request_id in self._seen:
                return False
            self._seen.add(request_id)
            self._by_timestamp.setdefault(timestamp, []).append(request_id)
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
    if not seen.add(request_id, int(stamp), now):
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
