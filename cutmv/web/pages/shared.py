"""What a share shows to anybody who has its link: a small page, and the files."""

from flask import Blueprint, Response, make_response, render_template, request

from cutmv.jobs import Shared, Shares, UnknownShare
from cutmv.web.api.contents import send_archive, send_object
from cutmv.web.state import web

blueprint = Blueprint("shared", __name__, url_prefix="/shared/<token>")

#: What a page shows a file by, where every browser plays it; others are there to be saved.
ELEMENTS = {
    "video/mp4": "video",
    "video/webm": "video",
    "audio/mp4": "audio",
    "audio/mpeg": "audio",
    "audio/wav": "audio",
    "audio/flac": "audio",
    "image/gif": "image",
    "image/webp": "image",
    "image/jpeg": "image",
    "image/png": "image",
}


@blueprint.get("")
def show(token: str) -> Response:
    """The page of a share."""
    try:
        shown = _shown(token)
    except UnknownShare as error:
        return _page(404, token, problem=str(error))
    return _page(200, token, shown=shown, elements=ELEMENTS)


@blueprint.get("/outputs/<name>")
def output(token: str, name: str) -> Response:
    """A file of a share, whole or by ranges."""
    step = _shown(token).step(name)
    assert step.output is not None  # noqa: S101 (a share shows no others)
    download = "download" in request.args
    made = step.output
    sent = send_object(made.key, step.name, made.content_type, download=download, is_kept=False)
    return _unlinked(sent)


@blueprint.get("/outputs.zip")
def archive(token: str) -> Response:
    """All files of a share of a whole job, in one ZIP."""
    shown = _shown(token)
    if shown.share.output is not None:
        raise UnknownShare
    return _unlinked(send_archive(shown.job))


def _shown(token: str) -> Shared:
    return Shares(web().services.store).shown(token)


def _page(status: int, token: str, **told: object) -> Response:
    response = make_response(render_template("shared.html", token=token, **told), status)
    response.headers["Cache-Control"] = "no-store"
    return _unlinked(response)


def _unlinked(response: Response) -> Response:
    """Have nobody else learn the link, who has it opens all."""
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
