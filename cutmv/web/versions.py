"""Versions of the API: `/api/v1` is what `/api` is, for programs that say which one they know.

What would break a program of version 1 will come as `/api/v2`. New fields, routes and statuses of
errors do not: a program leaves out what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: The version of the API, and where it is served beside `/api`.
VERSION = "1"
PREFIX = f"/api/v{VERSION}"


def versioned(application: WSGIApplication) -> WSGIApplication:
    """Serve `/api/v1/…` as `/api/…`."""

    def serve(wsgi: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = wsgi.get("PATH_INFO", "")
        if path.startswith(f"{PREFIX}/"):
            wsgi["PATH_INFO"] = f"/api{path.removeprefix(PREFIX)}"
        return application(wsgi, start_response)

    return serve
