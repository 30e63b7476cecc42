"""The page for people, which uses the JSON API."""

from typing import Any

from flask import Blueprint, Response, abort, render_template, url_for

from cutmv.jobs import OPTIONS
from cutmv.media import SIZES, presets
from cutmv.web.access import person
from cutmv.web.api.job_body import MAX_CLIP_LIST_CHARS
from cutmv.web.api.models import size_text
from cutmv.web.pages import assets
from cutmv.web.pages.assets import TYPES, send_asset, send_page
from cutmv.web.state import web

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> Response:
    """The page, for people."""
    limit = web().services.settings.max_upload_bytes
    text = render_template(
        "index.html",
        asset=_address,
        max_upload_bytes=limit,
        mails=web().services.settings.access.smtp_url is not None and person().email is not None,
        max_upload_text=size_text(limit),
        max_clip_list_chars=MAX_CLIP_LIST_CHARS,
        options=OPTIONS,
        shapes=_shapes(),
    )
    return send_page(text)


@blueprint.get("/assets/<digest>/<name>")
def asset(digest: str, name: str) -> Response:
    """The page's script, or its style."""
    if name not in TYPES:
        abort(404)
    return send_asset(name, digest)


def _address(name: str) -> str:
    return url_for("page.asset", digest=assets.asset(name).digest, name=name)


def _shapes() -> dict[str, Any]:
    """The sizes of shapes and presets, and how these are filled, for the preview of crops."""
    specs = {name: each.spec for name, each in presets().items()}
    return {
        "aspects": SIZES,
        "presets": {
            name: {"size": spec.size or SIZES[spec.aspect], "fit": spec.fit}
            for name, spec in specs.items()
            if spec.aspect != "source"
        },
    }
