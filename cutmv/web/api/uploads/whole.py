"""Uploads: send a video at once, show what is known of it, read it again in a player."""

import logging
from contextlib import suppress

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge

from cutmv.jobs import EmptyUpload, UnreadableRow, Upload, accept_upload, reserve
from cutmv.storage import TooLarge
from cutmv.web.access import mine, person
from cutmv.web.api.contents import send_object
from cutmv.web.api.idempotency import idempotency_key
from cutmv.web.api.models import PageQuery, size_text, upload_json
from cutmv.web.api.problems import Problem, validated
from cutmv.web.api.uploads.incoming import receive
from cutmv.web.state import web

blueprint = Blueprint("uploads", __name__, url_prefix="/api/uploads")
log = logging.getLogger(__name__)


@blueprint.post("")
def create() -> tuple[Response, int, dict[str, str]]:
    """Keep the video in the body: raw, named by `?filename=`, or a form with one file."""
    services = web().services
    limit, told = services.settings.max_upload_bytes, request.content_length or 0
    if told <= limit:  # else no room would be enough
        services.room.require(told)
    try:
        with reserve(services.store, idempotency_key(request), person().id) as held:
            held.hold(told if told <= limit else 0)
            upload = accept_upload(
                services.store,
                services.storage,
                receive(request, limit),
                max_bytes=limit,
                room=services.room,
                held=held,
                cache=services.cache,
                probing=web().probing,
            )
    except EmptyUpload:
        raise Problem(400, "The body is empty: send the bytes of a video.") from None
    except (TooLarge, RequestEntityTooLarge):
        raise Problem(413, f"The file is larger than {size_text(limit)}, the limit.") from None
    return kept(upload)


def kept(upload: Upload) -> tuple[Response, int, dict[str, str]]:
    """The answer to whoever has sent a video, whole or the last of its parts."""
    log.info("upload %s kept: %d bytes, %.1f s", upload.id, upload.size, upload.info.duration_s)
    location = url_for("uploads.show", upload_id=upload.id)
    return jsonify(upload_json(upload)), 201, {"Location": location}


@blueprint.get("")
def index() -> Response:
    """The latest uploads, newest first; the next page has those `before` the last of them."""
    page = validated(PageQuery, request.args.to_dict())
    found = mine().uploads(page.limit, page.before)
    more = found[-1].created_at if len(found) >= page.limit else None
    return jsonify(uploads=[upload_json(upload) for upload in found], next_before=more)


@blueprint.get("/<upload_id>")
def show(upload_id: str) -> Response:
    """What is known of an upload."""
    return jsonify(upload_json(mine().upload(upload_id)))


@blueprint.delete("/<upload_id>")
def delete(upload_id: str) -> tuple[str, int]:
    """Delete an upload and all that was made of it, at once and for good."""
    with suppress(UnreadableRow):  # it is theirs all the same
        mine().upload(upload_id)
    web().dispatcher.deleter.upload(upload_id)
    return "", 204


@blueprint.get("/<upload_id>/content")
def content(upload_id: str) -> Response:
    """The uploaded file, by ranges, for a player."""
    upload = mine().upload(upload_id)
    return send_object(upload.key, upload.filename, upload.content_type, download=False)
