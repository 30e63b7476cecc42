"""Requests that may come again: a client's own key for what it asks to be made."""

from flask import Request

from cutmv.web.access import person
from cutmv.web.api.problems import Problem

#: The header with a client's own key for a request, and its longest value.
KEY_HEADER, MAX_KEY_CHARS = "Idempotency-Key", 255


def idempotency_key(request: Request) -> str | None:
    """The key by which a client's request that comes again is known, if it sends one.

    It is of one person: nobody meets what another's key has made.
    See draft-ietf-httpapi-idempotency-key-header. Raises Problem 400 for one that is none.
    """
    given = request.headers.get(KEY_HEADER)
    if given is None:
        return None
    key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise Problem(400, f"{KEY_HEADER} must be 1 to {MAX_KEY_CHARS} printable characters.")
    return key if (owner := person().id) is None else f"{owner}\0{key}"
