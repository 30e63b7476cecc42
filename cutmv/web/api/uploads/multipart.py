"""Uploads that come in parts, in the way of S3's multipart uploads, whatever the storage is.

A client begins one, asks where to send the parts (to R2 itself, or here), sends them in any order,
and again where that failed, and completes it. When it was away it asks which parts are stored.
"""

from collections.abc import Sequence

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.datastructures import Headers

from cutmv.jobs import (
    UNFINISHED_AGE_S,
    EmptyUpload,
    MissingParts,
    MultipartUpload,
    MultipartUploads,
    TooManyUnfinished,
    WrongPart,
    clean_name,
)
from cutmv.storage import IncomingPart, PartDamaged, StoredPart
from cutmv.web.access import mine, person
from cutmv.web.api.idempotency import idempotency_key
from cutmv.web.api.models import size_text
from cutmv.web.api.problems import Problem, json_body, validated
from cutmv.web.api.uploads.multipart_models import MultipartBody, PartsBody, read_md5
from cutmv.web.api.uploads.whole import kept
from cutmv.web.state import web

#: Seconds after which a person with too many unfinished uploads may have finished one.
RETRY_AFTER_S = 60

blueprint = Blueprint("multipart", __name__, url_prefix="/api/multipart-uploads")


@blueprint.post("")
def create() -> tuple[Response, int, dict[str, str]]:
    """Begin an upload that comes in parts."""
    services, wanted = web().services, validated(MultipartBody, json_body())
    limit = services.settings.max_upload_bytes
    if wanted.size > limit:
        raise Problem(413, f"The file is larger than {size_text(limit)}, the limit.")
    services.room.require(wanted.size)
    try:
        begun = _uploads().begin(
            clean_name(wanted.filename),
            wanted.size,
            wanted.head,
            request_key=idempotency_key(request),
            person_id=person().id,
        )
    except EmptyUpload:
        raise Problem(422, "head: send the first bytes of the file.") from None
    except TooManyUnfinished as error:
        raise Problem(429, str(error), retry_after_s=RETRY_AFTER_S) from None
    stored = _uploads().parts(begun)
    return jsonify(_json(begun, stored)), 201, {"Location": url_for(".show", multipart_id=begun.id)}


@blueprint.get("")
def index() -> Response:
    """Your uploads that have begun, the newest first."""
    return jsonify(uploads=[_json(each, ()) for each in _uploads().of_person(person().id)])


@blueprint.get("/<multipart_id>")
def show(multipart_id: str) -> Response:
    """An upload that has begun, and the parts of it that are stored."""
    begun = _begun(multipart_id)
    return jsonify(_json(begun, _uploads().parts(begun)))


@blueprint.post("/<multipart_id>/parts")
def sign(multipart_id: str) -> Response:
    """Where to send parts, each by PUT."""
    begun, wanted = _begun(multipart_id), validated(PartsBody, json_body())
    parts = [_part(begun, each.number, each.md5) for each in wanted.parts]
    return jsonify(parts=[_signed(begun, part, direct=wanted.direct) for part in parts])


@blueprint.put("/<multipart_id>/parts/<int:number>")
def put(multipart_id: str, number: int) -> Response:
    """Take a part; one that comes again takes the place of what came before."""
    begun = _begun(multipart_id)
    part = _part(begun, number, _content_md5(request.headers))
    if request.content_length is None:
        raise Problem(411, "Send the part with its Content-Length.")
    if request.content_length != part.size:
        raise Problem(400, f"Part {number} has {part.size} bytes, not {request.content_length}.")
    web().services.room.require()
    request.max_content_length = part.size + 1
    try:
        stored = _uploads().put(begun, part, request.stream)
    except PartDamaged as error:
        raise Problem(400, f"{error} Send it again.") from None
    answer = jsonify(_part_json(stored))
    answer.set_etag(stored.etag)
    return answer


@blueprint.post("/<multipart_id>/complete")
def complete(multipart_id: str) -> tuple[Response, int, dict[str, str]]:
    """Make the upload of its parts; it is the same where that was done before."""
    services = web().services
    try:
        upload = _uploads().complete(
            multipart_id, of=person().sees, cache=services.cache, probing=web().probing
        )
    except MissingParts as error:
        raise Problem(409, str(error), missing=list(error.numbers)) from None
    return kept(upload)


@blueprint.delete("/<multipart_id>")
def abort(multipart_id: str) -> tuple[str, int]:
    """Give up an upload: all that is stored of it is deleted."""
    begun = _begun(multipart_id)
    web().services.freeing(lambda: _uploads().abort(begun))
    return "", 204


def _uploads() -> MultipartUploads:
    return MultipartUploads(web().services.store, web().services.storage)


def _begun(multipart_id: str) -> MultipartUpload:
    return _uploads().get(multipart_id, mine().of)


def _part(begun: MultipartUpload, number: int, md5: bytes | None) -> IncomingPart:
    try:
        return begun.part(number, md5)
    except WrongPart as error:
        raise Problem(422, str(error)) from None


def _content_md5(headers: Headers) -> bytes | None:
    told = headers.get("Content-MD5")
    if told is None:
        return None
    try:
        return read_md5(told)
    except ValueError:
        raise Problem(400, "Content-MD5 must be the 16 bytes of an MD5, in base64.") from None


def _signed(begun: MultipartUpload, part: IncomingPart, *, direct: bool) -> dict[str, object]:
    signed = _uploads().sign(begun, part) if direct else None
    if signed:
        return {"number": part.number, "url": signed.url, "headers": signed.headers, "direct": True}
    headers = {"Content-MD5": part.content_md5} if part.content_md5 else {}
    url = url_for(".put", multipart_id=begun.id, number=part.number)
    return {"number": part.number, "url": url, "headers": headers, "direct": False}


def _json(begun: MultipartUpload, stored: Sequence[StoredPart]) -> dict[str, object]:
    return {
        "id": begun.id,
        "filename": begun.filename,
        "size": begun.size,
        "part_bytes": begun.part_bytes,
        "parts": begun.parts,
        "stored": [_part_json(part) for part in stored],
        "created_at": begun.created_at,
        "expires_at": begun.created_at + UNFINISHED_AGE_S,
    }


def _part_json(part: StoredPart) -> dict[str, object]:
    return {"number": part.number, "size": part.size, "etag": part.etag}
