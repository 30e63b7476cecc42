"""Uploads: a file streamed to the storage, checked, and read again by the page's player."""

import contextlib
import logging
import tempfile
from typing import IO, cast

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge

from cutmv.jobs import Upload, new_id
from cutmv.media import MediaError
from cutmv.media.source import HEAD_BYTES, demuxer_of
from cutmv.storage import TooLarge
from cutmv.tasks import probe_object
from cutmv.web.contents import send_object
from cutmv.web.incoming import Body, receive
from cutmv.web.models import size_text, upload_json
from cutmv.web.problems import Problem
from cutmv.web.state import web

#: The media type of each container, by FFmpeg's name for it. Ours, never the client's: it decides
#: what a browser does with the file.
CONTENT_TYPES = {
    "mov": "video/mp4",
    "matroska": "video/webm",
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
}

blueprint = Blueprint("uploads", __name__, url_prefix="/api/uploads")
log = logging.getLogger(__name__)


@blueprint.post("")
def create() -> tuple[Response, int, dict[str, str]]:
    """Keep the video in the body: raw, named by `?filename=`, or a form with one file."""
    services = web().services
    limit = services.settings.max_upload_bytes
    upload_id = new_id()
    key = f"uploads/{upload_id}/source"
    try:
        incoming = receive(request, limit)
        content_type = _content_type(incoming.body)
        size = services.storage.put_stream(
            key, cast(IO[bytes], incoming.body), content_type=content_type, max_bytes=limit
        )
        incoming.finish()
        info = probe_object(services.storage, key)
        upload = services.store.add_upload(
            Upload(
                id=upload_id,
                filename=incoming.filename,
                size=size,
                content_type=content_type,
                key=key,
                info=info,
                created_at=0.0,
            )
        )
    except BaseException as error:
        # Whatever it was, a client that hung up among it, nobody will ask for this key again.
        with contextlib.suppress(Exception):
            services.storage.delete(key)
        if isinstance(error, TooLarge | RequestEntityTooLarge):
            raise Problem(413, f"The file is larger than {size_text(limit)}, the limit.") from None
        raise
    log.info("upload %s kept: %d bytes, %.1f s", upload.id, size, info.duration_s)
    location = url_for("uploads.show", upload_id=upload.id)
    return jsonify(upload_json(upload)), 201, {"Location": location}


@blueprint.get("/<upload_id>")
def show(upload_id: str) -> Response:
    """What is known of an upload."""
    return jsonify(upload_json(web().services.store.upload(upload_id)))


@blueprint.get("/<upload_id>/content")
def content(upload_id: str) -> Response:
    """The uploaded file, by ranges, for a player."""
    upload = web().services.store.upload(upload_id)
    return send_object(upload.key, upload.filename, upload.content_type, download=False)


def _content_type(body: Body) -> str:
    """The media type of a video, by its first bytes, before the rest is waited for.

    Raises Problem 400 for an empty body, 415 for what is no video.
    """
    head = body.peek(HEAD_BYTES)
    if not head:
        raise Problem(400, "The body is empty: send the bytes of a video.")
    with tempfile.NamedTemporaryFile() as file:
        file.write(head)
        file.flush()
        try:
            return CONTENT_TYPES[demuxer_of(file.name)]
        except MediaError as error:
            raise Problem(415, str(error)) from None
