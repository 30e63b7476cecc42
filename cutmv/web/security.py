"""Refuse requests to other names and from other sites' pages; set the security headers of ours."""

from urllib.parse import urlsplit

from flask import Flask, Response, request

from cutmv.web.api.problems import Problem
from cutmv.web.state import web

#: Everything comes from this host alone, with no inline script or style. `blob:` is the preview of
#: a file that the person has just chosen; the storage may take the parts of uploads itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " media-src 'self' blob:; connect-src {connect}; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Methods that change nothing.
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def register(app: Flask) -> None:
    """Guard each request of `app` and set the headers of each response."""
    app.before_request(_refuse_other_hosts)
    app.before_request(_refuse_other_origins)
    app.after_request(_set_headers)


def _refuse_other_hosts() -> None:
    """Refuse requests that name another host, as one does whose page has its name lead here."""
    if not web().door.answers_to(request.host):
        raise Problem(
            421,
            "The server does not go by the name of this address. Use its IP address, or have the"
            " name added to CUTMV_HOSTS.",
        )


def _refuse_other_origins() -> None:
    """Refuse requests of other sites' pages that may change something, or open a WebSocket."""
    is_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
    if request.method in SAFE_METHODS and not is_websocket:
        return
    # The browser sets this header itself; no page can, and a proxy that renames hosts keeps it.
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or urlsplit(origin).netloc == request.host
    if not ours:
        raise Problem(403, "Requests from pages of other sites are refused.")


def _set_headers(response: Response) -> Response:
    storage = web().services.storage.multipart.origin
    policy = CONTENT_SECURITY_POLICY.format(connect=" ".join(filter(None, ("'self'", storage))))
    response.headers.setdefault("Content-Security-Policy", policy)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if response.mimetype in ("application/json", "application/problem+json"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
