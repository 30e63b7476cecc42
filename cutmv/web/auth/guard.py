"""Say of each request who makes it, before it is handled, or refuse it."""

import time

from flask import Flask, Response, g, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from cutmv.people import LOCAL
from cutmv.web.access import (
    OF_ACCOUNTS,
    OPEN,
    PAGES,
    administrators_alone,
    lacks_second_factor,
    sessions_alone,
)
from cutmv.web.api.models import size_text
from cutmv.web.api.problems import Problem
from cutmv.web.auth.credentials import knows_csrf_token, shown
from cutmv.web.security import SAFE_METHODS
from cutmv.web.state import web


def register(app: Flask) -> None:
    """Guard each request of `app`, and give its templates the session's CSRF token."""
    app.before_request(_let_in)
    app.after_request(_say_how)
    app.jinja_env.filters["day"] = lambda at: time.strftime("%Y-%m-%d", time.gmtime(at))
    app.jinja_env.filters["size"] = size_text
    # Who has yet to sign in is nobody.
    app.context_processor(lambda: {"csrf_token": g.get("csrf_token"), "person": g.get("person")})


def _let_in() -> BaseResponse | None:
    if not web().door.sign_in:
        g.person, g.credential = LOCAL, None
        if request.blueprint in OF_ACCOUNTS:
            raise Problem(404, "Nobody signs in here: the server listens on this machine alone.")
        return None
    if request.url_rule is None or request.endpoint in OPEN:
        return None
    credential = shown(request)
    found = credential.person(web().services) if credential else None
    if credential is None or found is None:
        if request.method == "GET" and request.blueprint in PAGES and not request.authorization:
            return redirect(url_for("sign_in.show", next=request.full_path.rstrip("?")), 303)
        raise Problem(401, "Sign in first, or send an API key that is good.")
    if credential.kind == "key" and sessions_alone(request):
        raise Problem(403, "This is for who signs in, not for API keys.")
    if request.method not in SAFE_METHODS and not knows_csrf_token(request, credential):
        raise Problem(403, "The page is out of date: load it again.")
    if lacks_second_factor(request, found):
        if request.method == "GET" and request.blueprint in PAGES and credential.kind != "key":
            return redirect(url_for("second_factor.show"), 303)
        raise Problem(403, "A second factor is asked for here: add one on the page of the account.")
    if administrators_alone(request) and not found.is_admin:
        raise Problem(403, "This is for administrators.")
    g.person, g.credential = found, credential
    g.csrf_token = credential.csrf_token
    return None


def _say_how(response: Response) -> Response:
    if response.status_code == 401:
        response.headers.setdefault("WWW-Authenticate", 'Bearer realm="cutmv"')
    if g.get("csrf_token"):
        # Nothing that somebody saw is kept for whoever uses the browser next.
        response.headers.setdefault("Cache-Control", "no-store")
    return response
