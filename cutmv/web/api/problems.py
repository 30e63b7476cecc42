"""Errors as problem details (RFC 9457): one line for people, which shows no internals."""

import logging
import re
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Flask, Response, current_app, json, request
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from cutmv.database import DATABASE_AWAY, cause, database_full, passes
from cutmv.jobs import (
    KeyReused,
    NoVideo,
    StorageFull,
    TooLargeJob,
    TooManyDerivatives,
    TooManyRows,
    TooManyShares,
    TooManySteps,
    UnknownHook,
    UnknownJob,
    UnknownShare,
    UnknownUpload,
    UnreadableRow,
)
from cutmv.media import MediaError, MediaUnavailable, no_room
from cutmv.people import AccountGone, LinkGone, Refused, UnknownKey, UnknownPerson
from cutmv.storage import NoSpace, ObjectNotFound, StorageError
from cutmv.web.api.models import size_text

#: Seconds after which a client may try again when the database or the storage does not answer.
RETRY_AFTER_S = 10
#: Seconds after which it may when a disk is full: somebody may have to free some room.
ROOM_RETRY_AFTER_S = 60
#: Seconds after which it may when its steps wait: some may have ended.
STEPS_RETRY_AFTER_S = 30
#: Headers of a werkzeug error that the answer keeps: what is allowed, when to come back.
KEPT_HEADERS = ("Allow", "Retry-After", "Content-Range")

#: What is said of a wrong field in place of pydantic's words, which are Python's, by its types.
MESSAGES = {
    ("extra_forbidden",): "there is no such field",
    ("missing",): "the field is needed",
    ("tuple_type", "list_type"): "it must be a list",
    ("model_type", "dict_type", "model_attributes_type"): "it must be an object",
    ("string_type",): "it must be a text",
    ("bool_type", "bool_parsing"): "it must be true or false",
    ("int_type", "int_parsing", "int_from_float"): "it must be a whole number",
    ("float_type", "float_parsing", "finite_number"): "it must be a number",
    ("literal_error",): "it must be {expected}",
    ("string_too_long",): "it has more than {max_length} characters",
    ("string_too_short",): "it has less than {min_length} characters",
    ("string_pattern_mismatch",): "it has characters that it can't have",
    ("too_long",): "it has more than {max_length} entries",
    ("too_short",): "it has less than {min_length} entries",
    ("greater_than_equal",): "it must be {ge:g} or more",
    ("greater_than",): "it must be more than {gt:g}",
    ("less_than_equal",): "it must be {le:g} or less",
    ("less_than",): "it must be less than {lt:g}",
}

#: Wrong fields that an answer names at most, and characters of a name that it repeats.
MAX_ERRORS, MAX_FIELD_CHARS = 20, 100
#: A NUL as JSON writes it; PostgreSQL takes none in a text.
_NUL, _ESCAPED_NUL = rb"\u0000", re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
#: Half of a character beyond 16 bits as JSON writes it; alone it is none, and no UTF-8 has it.
_ESCAPED_HALF = re.compile(rb"\\u[dD][89a-fA-F]")

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)


class Problem(Exception):
    """An error to answer with: its status, one line for people, and any further members."""

    def __init__(
        self, status: int, detail: str, *, retry_after_s: int | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.members = status, detail, members
        self.retry_after_s = retry_after_s


def validated(model: type[Model], data: Any) -> Model:
    """`data` as `model`. Raises Problem 422 that names each wrong field."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = [
            {
                "field": ".".join(map(str, each["loc"]))[:MAX_FIELD_CHARS] or "body",
                "message": _message(each),
            }
            for each in error.errors(include_url=False, include_input=False)[:MAX_ERRORS]
        ]
        first = errors[0]
        detail = f"{first['field']}: {first['message']}."
        raise Problem(422, detail, errors=errors) from None


def json_body() -> Any:
    """The request's JSON, whatever it says.

    Raises Problem: 415 for another type, 413 where it is too large, 400 where it is no JSON in
    UTF-8, names a field twice, has a NUL or half of a character, or nests so deep that Python's
    parser gives up.
    """
    if not request.is_json:
        raise Problem(415, "Send JSON, with Content-Type: application/json.")
    body = whole_body()
    # Others wait while an expression is looked for: 15 ms in a body of 400 kB.
    if _NUL in body and _ESCAPED_NUL.search(body):
        raise Problem(400, "The JSON has a text with a NUL character.")
    try:
        found = json.loads(body.decode(), object_pairs_hook=_without_doubles)
        if _ESCAPED_HALF.search(body):
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeEncodeError:
        raise Problem(400, "The JSON has a text with half of a character.") from None
    except RecursionError:
        raise Problem(400, "The JSON is nested too deeply.") from None
    except ValueError:  # the last of these: a number of thousands of digits
        raise Problem(400, "The body is no JSON in UTF-8.") from None


def whole_body() -> bytes:
    """The request's body, of whatever length it says or does not say that it has.

    Raises Problem 413 for one over the limit.
    """
    most = current_app.config["MAX_CONTENT_LENGTH"]
    # One byte more: at its very limit werkzeug can't tell the end of a body from its middle.
    request.max_content_length = most + 1
    body = request.get_data()
    if len(body) > most:
        raise RequestEntityTooLarge
    return body


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise Problem(400, "The JSON has a field twice in one object.")
    return fields


def register(app: Flask) -> None:
    """Answer every error of `app` with a problem."""
    app.before_request(_refuse_nul)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ClientDisconnected, _cut_off)
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    of_people = (UnknownHook, UnknownPerson, UnknownKey, LinkGone)
    for unknown in (UnknownJob, UnknownUpload, UnknownShare, *of_people, ObjectNotFound):
        app.register_error_handler(unknown, _not_found)
    for refused in (MediaError, KeyReused, TooManyShares, UnreadableRow, Refused):
        app.register_error_handler(refused, _refused)
    for unavailable in (MediaUnavailable, StorageError):
        app.register_error_handler(unavailable, _unavailable)
    for of_database in (*DATABASE_AWAY, DBAPIError):
        app.register_error_handler(of_database, _database)
    app.register_error_handler(AccountGone, lambda error: answer(401, str(error)))
    app.register_error_handler(NoVideo, lambda error: answer(415, str(error)))
    app.register_error_handler(TooLargeJob, lambda error: answer(413, str(error)))
    app.register_error_handler(TooManySteps, _too_many_steps)
    app.register_error_handler(TooManyDerivatives, _too_many_steps)
    app.register_error_handler(TooManyRows, _too_many_rows)
    app.register_error_handler(StorageFull, _storage_full)
    app.register_error_handler(Exception, _bug)


def answer(status: int, detail: str, **members: Any) -> Response:
    """The response for a problem."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    return Response(json.dumps(body), status, content_type="application/problem+json")


def bytes_of_problem(status: HTTPStatus, retry_after_s: int | None = None) -> bytes:
    """The whole answer to what never becomes a request, after which its connection ends."""
    detail = f"{status.description or status.phrase}."
    later = "" if retry_after_s is None else f"Retry-After: {retry_after_s}\r\n"
    told = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    body = json.dumps(told).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n{later}"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _refuse_nul() -> Response | None:
    """Refuse paths with a NUL, at which PostgreSQL fails; no id or name of ours holds one."""
    return answer(404, "There is nothing of this name.") if "\0" in request.path else None


def _problem(error: Problem) -> Response:
    response = answer(error.status, error.detail, **error.members)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def _too_large(_error: RequestEntityTooLarge) -> Response:
    limit = current_app.config["MAX_CONTENT_LENGTH"]
    return answer(413, f"The body is larger than {limit} bytes, the limit.")


def _cut_off(error: ClientDisconnected) -> Response:
    """Answer a client whose body broke off, or that kept no pace."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None or not getattr(connection, "too_slow", False):
        return answer(400, error.description or "The body broke off.")
    connection.begin()  # for the answer
    return answer(408, "The body came too slowly.")


def _too_many_steps(error: TooManySteps | TooManyDerivatives) -> Response:
    response = answer(429, str(error))
    response.headers["Retry-After"] = str(STEPS_RETRY_AFTER_S)
    return response


def _too_many_rows(error: TooManyRows) -> Response:
    return answer(507, str(error))


def _storage_full(error: StorageFull) -> Response:
    """The answer where somebody has stored all that they may: no time makes room by itself."""
    used = f"{size_text(error.used)} of {size_text(error.most)} are used"
    wanted = f", and this has {size_text(error.wanted)}" if error.wanted else ""
    told = f"{used}{wanted}: delete uploads or results first."
    return answer(507, told, used=error.used, most=error.most)


def _http(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400:
        return error
    response = answer(error.code, error.description or HTTPStatus(error.code).description)
    for name, value in error.get_headers(request.environ):
        if name in KEPT_HEADERS:
            response.headers[name] = value
    return response


def _not_found(error: Exception) -> Response:
    return answer(
        404, "The file is no longer kept." if isinstance(error, ObjectNotFound) else str(error)
    )


def _refused(error: Exception) -> Response:
    return answer(422, str(error))


def _unavailable(error: Exception) -> Response:
    log.warning("%s %s: %s: %s", request.method, _path(), type(error).__name__, error)
    if isinstance(error, NoSpace) or no_room(error):
        return _no_room()
    return _later("storage")


def _database(error: Exception) -> Response:
    """The answer where the database is away, or can't be used until somebody does something.

    The error's own message has statements and their values.
    """
    why = cause(error)
    if why is None and not passes(error):
        return _bug(error)
    told = why or type(error).__name__
    log.warning("%s %s: the database: %s", request.method, _path(), told)
    if database_full(error):
        return _no_room()
    if why is None:
        return _later("database")
    return answer(503, f"The database can't be used: {why}.")


def _no_room() -> Response:
    response = answer(507, "There is no room for more right now. Try again in some minutes.")
    response.headers["Retry-After"] = str(ROOM_RETRY_AFTER_S)
    return response


def _later(what: str) -> Response:
    response = answer(503, f"The {what} does not answer right now. Try again in a moment.")
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _bug(error: Exception) -> Response:
    log.error("%s %s failed", request.method, _path(), exc_info=error)
    return answer(500, "Something went wrong on our side. It has been logged.")


def _path() -> str:
    """The path of the request, for a log: without the token of a link."""
    token = (request.view_args or {}).get("token")
    return request.path.replace(token, "…") if token else request.path


def _message(error: Any) -> str:
    told: dict[str, Any] = error.get("ctx") or {}
    for kinds, message in MESSAGES.items():
        if error["type"] in kinds:
            return message.format(**told)
    text = str(error["msg"])
    return text[:1].lower() + text[1:]
