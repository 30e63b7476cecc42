"""The page of a problem, for people whose browser asked for one; programs get it as JSON."""

from flask import Flask, Response, json, render_template, request

from cutmv.web.state import web

#: The type of a problem (RFC 9457).
PROBLEM = "application/problem+json"
#: Statuses of which nothing of ours is shown: the browser may have been led here by a name that is
#: none of ours.
BARE = (421,)


def register(app: Flask) -> None:
    """Show the problems of `app` to people as pages."""
    app.after_request(_shown)


def _shown(response: Response) -> Response:
    if response.mimetype != PROBLEM or response.status_code in BARE or not _by_a_person():
        return response
    told = json.loads(response.get_data())
    may_sign_in = web().door.sign_in and response.status_code in (401, 404)
    text = render_template("people/problem.html", **told, may_sign_in=may_sign_in)
    response.set_data(text)
    response.content_type = "text/html; charset=utf-8"
    response.headers["Cache-Control"] = "no-store"
    return response


def _by_a_person() -> bool:
    """Whether a browser goes to a page: it names HTML, as no program does that wants JSON."""
    asked = request.accept_mimetypes
    named = "text/html" in asked.values()
    return named and not request.path.startswith("/api/") and not request.authorization
