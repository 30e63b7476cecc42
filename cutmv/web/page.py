"""The page for people, which uses the JSON API."""

from flask import Blueprint, render_template

from cutmv.jobs import OPTIONS
from cutmv.web.api.job_body import MAX_CLIP_LIST_CHARS
from cutmv.web.api.models import size_text
from cutmv.web.state import web

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> str:
    """The page, for people."""
    limit = web().services.settings.max_upload_bytes
    return render_template(
        "index.html",
        max_upload_bytes=limit,
        max_upload_text=size_text(limit),
        max_clip_list_chars=MAX_CLIP_LIST_CHARS,
        options=OPTIONS,
    )
