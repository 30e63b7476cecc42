"""Tells which answers of the Queues API are failures, and raises the error of each."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx

from cutmv.transports.cloudflare.api.listing import Document
from cutmv.transports.cloudflare.api.responses import is_number
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    Conflict,
    NotFound,
    Refused,
    ServerFault,
    Throttled,
    failure_type,
)

#: Cloudflare's codes for a token that is wrong or lacks a permission.
ACCESS_CODES = frozenset({9109, 10000, 10001, 10106})

#: Cloudflare's code for a queue that does not exist (any more).
QUEUE_NOT_FOUND = 10104

#: Seconds of ``Retry-After`` that are obeyed at most; Cloudflare's windows last 5 minutes.
RETRY_AFTER_MAX = 3600.0

#: What errors say, by their type.
_LINES: dict[type[CloudflareError], str] = {
    Throttled: "Cloudflare asks to slow down",
    NotFound: "Cloudflare found nothing there",
    Conflict: "Cloudflare has another call in the way",
    Refused: "Cloudflare refused the call",
}


def envelope(response: httpx.Response, account: str) -> Document:
    """Return the JSON document of a call that succeeded; raise the error of one that failed."""
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        document = None
    document = document if isinstance(document, dict) else {}
    if document.get("success") is not True or response.status_code >= 400:
        raise _failure(response, document, account)
    return document


def _failure(response: httpx.Response, document: Document, account: str) -> CloudflareError:
    """Return the error to raise for a response that is no success."""
    status = response.status_code
    errors = document.get("errors")
    objects = (
        [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    )
    first: Document = objects[0] if objects else {}
    code = int(first["code"]) if is_number(first.get("code")) else 0
    told = first["message"] if isinstance(first.get("message"), str) else ""
    said = " ".join((told or response.reason_phrase or "no reason").split())
    detail = f"HTTP {status}, code {code}: {said}" if code else f"HTTP {status}: {said}"
    own = document.get("success") is False
    kind = failure_type(status, own=own and (status != 404 or code != 0))
    if status != 429 and code in ACCESS_CODES:
        kind = AccessDenied
    elif status != 429 and code == QUEUE_NOT_FOUND:
        kind = NotFound
    if kind is AccessDenied:
        line = (
            f"Cloudflare refused the API token for account {account!r} ({detail}): check "
            f"CLOUDFLARE_API_TOKEN or the broker URL; it needs the permission Queues: Edit"
        )
    elif 400 <= status < 500 and not own and kind is ServerFault:
        line = f"what answered is none of Cloudflare's API: a proxy, perhaps ({detail})"
    else:
        line = f"{_LINES.get(kind, 'Cloudflare failed to answer')} ({detail})"
    retry_after = _retry_after(response.headers) if kind.passing else None
    return kind(line, status=status, code=code, retry_after=retry_after)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` in seconds; Cloudflare sends no dates."""
    try:
        return max(0.0, min(RETRY_AFTER_MAX, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None
