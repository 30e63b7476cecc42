"""The proxy of an upload, which a browser can play: have it made, see how far it is, play it."""

from flask import Blueprint, Response, jsonify

from cutmv.jobs import (
    FILM_OF_PROXY,
    PROXY,
    DerivativeState,
    Record,
    Upload,
    derivative_key,
)
from cutmv.media import Proxy
from cutmv.web.access import mine
from cutmv.web.api.contents import send_object
from cutmv.web.api.timeline.derivatives import kept_of, told_of, wanted_of

blueprint = Blueprint("proxies", __name__, url_prefix="/api/uploads")


@blueprint.post("/<upload_id>/proxy")
def create(upload_id: str) -> tuple[Response, int]:
    """Have a small film of an upload made that any browser plays, once."""
    upload = mine().upload(upload_id)
    record = wanted_of(PROXY, upload)
    return _shown(upload, record), 200 if record.state is DerivativeState.DONE else 202


@blueprint.get("/<upload_id>/proxy")
def show(upload_id: str) -> tuple[Response, int]:
    """How far the proxy of an upload is."""
    upload = mine().upload(upload_id)
    record = kept_of(PROXY, upload)
    return _shown(upload, record), 202 if record.pending_s else 200


@blueprint.get("/<upload_id>/proxy/content")
def content(upload_id: str) -> Response:
    """The proxy itself, by ranges."""
    key = derivative_key(mine().upload(upload_id), FILM_OF_PROXY)
    return send_object(key, FILM_OF_PROXY, "video/mp4", download=False)


def _shown(upload: Upload, record: Record[Proxy]) -> Response:
    """A record as the API shows it (`ProxyOut`)."""
    return jsonify(
        **told_of(record),
        url=f"/api/uploads/{upload.id}/proxy/content" if record.found else None,
    )
