"""The interactive page of the API: Swagger UI on our description of it."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, make_response, render_template, send_from_directory

blueprint = Blueprint("api_page", __name__, url_prefix="/api/docs")

#: Swagger UI's own files.
FILES = Path(flask_swagger_ui.__file__).with_name("dist")
#: What its page may do: the same as ours, with styles and pictures that its script has in itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@blueprint.get("")
def show() -> Response:
    """The page, on which each operation can be tried out."""
    response = make_response(render_template("api-page.html"))
    response.headers["Content-Security-Policy"] = POLICY
    return response


@blueprint.get("/<asset>")
def file(asset: str) -> Response:
    """A file of Swagger UI."""
    return send_from_directory(FILES, asset, max_age=86_400)
