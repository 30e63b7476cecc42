"""Say of each request who makes it, before it is handled, or refuse it."""

import time
from collections.abc import Callable

from flask import Flask, Response, g, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from cutmv.database import DATABASE_AWAY
from cutmv.people import LOCAL
from cutmv.web.access import OF_ACCOUNTS, OPEN, PAGES, administrators_alone
from cutmv.web.api.models import size_text
from cutmv.web.api.problems import Problem
from cutmv.web.auth.credentials import knows_csrf_token, shown
from cutmv.web.security import SAFE_METHODS
from cutmv.web.state import web

#: Seconds for which a WebSocket goes on after its session has ended.
SOCKET_RECHECK_S = 2.0


def register(app: Flask) -> None:
    """Guard each request of `app`, and give its templates the session's CSRF token."""
    app.before_request(_let_in)
    app.after_request(_say_how)
    app.jinja_env.filters["day"] = lambda at: time.strftime("%Y-%m-%d", time.gmtime(at))
    app.jinja_env.filters["size"] = size_text
    app.context_processor(
        lambda: {"csrf_token": g.get("csrf_token"), "person": g.get("person", LOCAL)}
    )


def _let_in() -> BaseResponse | None:
    if not web().door.sign_in:
        g.person, g.still_in = LOCAL, lambda: True
        if request.blueprint in OF_ACCOUNTS:
            raise Problem(404, "Nobody signs in here: the server listens on this machine alone.")
        return None
    if request.url_rule is None or request.endpoint in OPEN:
        return None
    credential = shown(request)
    found = credential.person() if credential else None
    if credential is None or found is None:
        if request.method == "GET" and request.blueprint in PAGES and not request.authorization:
            return redirect(url_for("sign_in.show", next=request.full_path.rstrip("?")), 303)
        raise Problem(401, "Sign in first, or send an API key that is good.")
    if request.method not in SAFE_METHODS and not knows_csrf_token(request, credential):
        raise Problem(403, "The page is out of date: load it again.")
    if administrators_alone(request) and not found.is_admin:
        raise Problem(403, "This is for administrators.")
    g.person, g.still_in = found, _rechecked(lambda: credential.person() is not None)
    g.csrf_token = credential.csrf_token
    return None


def _rechecked(is_good: Callable[[], bool]) -> Callable[[], bool]:
    """Whether the credential is good, asked SOCKET_RECHECK_S seconds ago at most."""
    latest = [time.monotonic(), True]

    def still_in() -> bool:
        if latest[1] and time.monotonic() - latest[0] >= SOCKET_RECHECK_S:
            try:
                latest[:] = [time.monotonic(), is_good()]
            except DATABASE_AWAY:
                latest[0] = time.monotonic()
        return bool(latest[1])

    return still_in


def _say_how(response: Response) -> Response:
    if response.status_code == 401:
        response.headers.setdefault("WWW-Authenticate", 'Bearer realm="cutmv"')
    if g.get("csrf_token"):
        # Nothing that somebody saw is kept for whoever uses the browser next.
        response.headers.setdefault("Cache-Control", "no-store")
    return response
