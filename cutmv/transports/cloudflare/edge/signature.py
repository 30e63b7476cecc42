"""Signs and verifies requests by Standard Webhooks (https://www.standardwebhooks.com).

A signature is an HMAC-SHA256 over ``id.timestamp.body``, in the headers ``webhook-id``,
``webhook-timestamp`` and ``webhook-signature``. Its key is not the secret itself: HKDF-SHA256 (RFC
5869) derives one for each `Purpose`, so that a signature is good for one receiver, one method and
one path alone; only what goes to other people's receivers has the secret itself for its key
(`Anyone`). A secret is ``whsec_`` and base64, or any other text. Where a secret is expected,
several of the first kind may be given, separated by white space or commas: each is valid, so that
an operator can change it at one end after the other.
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
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

#: The start of a secret in base64.
WHSEC_PREFIX = "whsec_"

#: Seconds that a timestamp may be off, either way.
TOLERANCE = 300.0

#: Bytes of a secret, at least, but between processes of one machine (Standard Webhooks: 24 to 64).
MIN_KEY_BYTES = 24

#: Characters of an id, and signatures of one request that are looked at.
MAX_ID, MAX_SIGNATURES = 255, 8

#: Seconds since 1970, in as many digits as any date needs: the sender is not verified yet, and
#: Python refuses to read numbers of thousands of digits.
_STAMP = re.compile(r"[0-9]{1,12}")


class Rejected(Exception):
    """Raised for a request that is refused, with the status and the headers of the response."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a request is for: whom it goes to, its method, and its path with its query.

    The path is the receiver's own route, without what a proxy may have put before it.
    """

    receiver: Literal["edge Worker", "push server", "web server"]
    method: str
    target: str

    def key(self, secret: bytes) -> bytes:
        """Derive the key of this purpose from a secret."""
        info = f"cutmv signature: {self.receiver} {self.method} {self.target}".encode()
        extracted = hmac.digest(bytes(hashlib.sha256().digest_size), secret, "sha256")
        return hmac.digest(extracted, info + b"\x01", "sha256")


@dataclass(frozen=True, slots=True)
class Anyone:
    """The purpose of a request to a receiver that knows Standard Webhooks, and nothing of ours."""

    def key(self, secret: bytes) -> bytes:
        """Return the secret itself."""
        return secret


class SeenIds:
    """The ids of requests that this process has accepted, so that none is accepted twice.

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


@dataclass(frozen=True, slots=True)
class Claim:
    """What the headers of a request say of who signed it: all that there is before its body."""

    request_id: str
    timestamp: int
    signatures: tuple[str, ...]

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Claim:
        """Return the claim of headers, whose names are in lower case.

        Raises `Rejected` 401 where one is missing, or the timestamp is too far from now.
        """
        request_id, signatures = given.get("webhook-id", ""), given.get("webhook-signature", "")
        stamp = given.get("webhook-timestamp", "")
        complete = 0 < len(request_id) <= MAX_ID and signatures and _STAMP.fullmatch(stamp)
        if not complete:
            raise Rejected(401, "The request is not signed: its three webhook headers are needed.")
        if abs(time.time() - int(stamp)) > TOLERANCE:
            raise Rejected(401, "The timestamp is too far from now: check both clocks.")
        # A sender that changes its secret sends two signatures, separated by a space.
        several = signatures.split(" ", MAX_SIGNATURES)[:MAX_SIGNATURES]
        return cls(request_id, int(stamp), tuple(several))

    def verify(self, secrets: str, purpose: Purpose, body: bytes) -> None:
        """Raise `Rejected` 401 unless who sent this body for this purpose knows a secret."""
        expected = _signatures(secrets, purpose, self.request_id, self.timestamp, body)
        ours = [each.encode() for each in expected]
        theirs = [each.encode() for each in self.signatures]
        if not any(hmac.compare_digest(one, other) for one in ours for other in theirs):
            raise Rejected(
                401,
                "The signature is wrong: the two ends have different secrets, or versions, or "
                "it was made for another request.",
            )


def sign(
    secrets: str, purpose: Purpose | Anyone, request_id: str, timestamp: int, body: bytes
) -> str:
    """Return the ``webhook-signature`` of a body; `timestamp` in seconds since 1970."""
    return " ".join(_signatures(secrets, purpose, request_id, timestamp, body))


def new_id() -> str:
    """Return an id for a request."""
    return f"msg_{randomness.token_hex(16)}"


def headers(
    secrets: str, purpose: Purpose | Anyone, body: bytes = b"", request_id: str | None = None
) -> dict[str, str]:
    """Return the headers of a request with this body, and with a new id unless one is given."""
    request_id, now = request_id or new_id(), int(time.time())
    return {
        "webhook-id": request_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secrets, purpose, request_id, now, body),
    }


def verify(
    secrets: str, purpose: Purpose, given: Mapping[str, str], body: bytes, *, seen: SeenIds
) -> None:
    """Verify that a request's sender knows a secret; `given` has lower-case header names.

    Raises `Rejected`: 401 as `Claim` does, 409 where this process has received it before.
    """
    claim = Claim.read(given)
    claim.verify(secrets, purpose, body)
    if not seen.add(claim.request_id, claim.timestamp, time.time()):
        raise Rejected(409, "This request was received before.")


def too_short(secrets: str) -> bool:
    """Tell whether any of these secrets has so few bytes that it might be guessed."""
    return any(len(_secret(each)) < MIN_KEY_BYTES for each in _split(secrets))


def is_loopback(host: str | None) -> bool:
    """Tell whether a host, by name or address, is this machine alone."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _signatures(
    secrets: str, purpose: Purpose | Anyone, request_id: str, timestamp: int, body: bytes
) -> list[str]:
    signed = b".".join((request_id.encode(), str(timestamp).encode(), body))
    digests = (
        hmac.digest(purpose.key(_secret(secret)), signed, "sha256") for secret in _split(secrets)
    )
    return ["v1," + base64.b64encode(digest).decode() for digest in digests]


def _split(secrets: str) -> list[str]:
    several = [each for each in re.split(r"[\s,]+", secrets) if each]
    # Any other text is a single secret, spaces included: its words would be weak secrets.
    return several if all(each.startswith(WHSEC_PREFIX) for each in several) else [secrets]


def _secret(secret: str) -> bytes:
    if secret.startswith(WHSEC_PREFIX):
        with contextlib.suppress(binascii.Error):
            return base64.b64decode(secret.removeprefix(WHSEC_PREFIX), validate=True)
    return secret.encode()
