"""The API's description in OpenAPI 3.1, made of the routes and the pydantic models."""

import re
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from cutmv import __version__
from cutmv.web.access import OPEN
from cutmv.web.api import account_models, models
from cutmv.web.api.estimates import EstimateOut
from cutmv.web.api.hooks import models as hook_models
from cutmv.web.api.idempotency import KEY_HEADER, MAX_KEY_CHARS
from cutmv.web.api.job_body import JobBody
from cutmv.web.api.shares import models as share_models
from cutmv.web.api.timeline import (
    clip_list_models,
    overview_models,
    proxy_models,
    suggestion_models,
)
from cutmv.web.api.uploads import multipart_models
from cutmv.web.versions import VERSION

#: A placeholder of a Flask rule.
_PLACEHOLDER = re.compile(r"<(?:[^:>]+:)?([^>]+)>")
#: Where the schemas are.
_REF = "#/components/schemas/{model}"
#: Any media type.
ANY = "*/*"

blueprint = Blueprint("openapi", __name__)


@dataclass(frozen=True)
class Operation:
    """What a route takes and answers: models for JSON, a media type for the rest."""

    status: int
    answer: type[BaseModel] | str | None
    body: type[BaseModel] | tuple[str, ...] | None = None
    query: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    #: Further answers of success, without a body of their own.
    also: tuple[int, ...] = ()
    #: Whether a client may send a key by which the request is known when it comes again.
    keyed: bool = False


class _OutputQuery(BaseModel):
    download: str | None = None


class _LiveQuery(BaseModel):
    watch: str | None = None
    epoch: str | None = None
    seq: int | None = None


class _UploadQuery(BaseModel):
    filename: str | None = None


#: What any request may be answered: its line is too long, the server has another name, its client
#: makes too many, its head is too large.
ANYWHERE = (414, 421, 429, 431)
_FILE = {"also": (206, 304), "errors": (404, 416, 503)}

#: How a request says whose it is, where people sign in.
_WAYS_IN = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key (`/api/keys`)."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "cutmv",
        "description": "A browser's session; over TLS `__Host-cutmv`. Requests that change"
        " something also send the page's CSRF token, as X-CSRF-Token.",
    },
}

#: By endpoint; the pages for people are not described.
OPERATIONS = {
    "uploads.create": Operation(
        201,
        models.UploadOut,
        body=("application/octet-stream", "multipart/form-data"),
        query=_UploadQuery,
        errors=(400, 403, 413, 415, 422, 503, 507),
        keyed=True,
    ),
    "uploads.index": Operation(200, models.UploadPage, query=models.PageQuery, errors=(422, 503)),
    "uploads.show": Operation(200, models.UploadOut, errors=(404, 503)),
    "uploads.delete": Operation(204, None, errors=(403, 404, 503)),
    "uploads.content": Operation(200, ANY, **_FILE),  # type: ignore[arg-type]
    "multipart.create": Operation(
        201,
        multipart_models.MultipartOut,
        body=multipart_models.MultipartBody,
        errors=(400, 403, 409, 413, 415, 422, 429, 503, 507),
        keyed=True,
    ),
    "multipart.index": Operation(200, multipart_models.MultipartList, errors=(503,)),
    "multipart.show": Operation(200, multipart_models.MultipartOut, errors=(404, 503)),
    "multipart.sign": Operation(
        200,
        multipart_models.SignedParts,
        body=multipart_models.PartsBody,
        errors=(400, 403, 404, 415, 422, 503),
    ),
    "multipart.put": Operation(
        200,
        multipart_models.PartOut,
        body=("application/octet-stream",),
        errors=(400, 403, 404, 408, 411, 429, 503, 507),
    ),
    "multipart.complete": Operation(
        201, models.UploadOut, errors=(403, 404, 409, 415, 422, 503, 507)
    ),
    "multipart.abort": Operation(204, None, errors=(403, 404, 503)),
    "suggestions.create": Operation(
        202, suggestion_models.SuggestionsOut, also=(200,), errors=(403, 404, 503, 507)
    ),
    "suggestions.show": Operation(
        200,
        suggestion_models.SuggestionsOut,
        query=suggestion_models.SuggestionsQuery,
        also=(202,),
        errors=(404, 422, 503),
    ),
    "suggestions.cancel": Operation(204, None, errors=(403, 404, 503)),
    "clip_lists.read": Operation(
        200,
        clip_list_models.ClipListOut,
        body=clip_list_models.ClipListBody,
        errors=(400, 403, 404, 413, 415, 422, 503),
    ),
    "overviews.create": Operation(
        202, overview_models.OverviewOut, also=(200,), errors=(403, 404, 503, 507)
    ),
    "overviews.show": Operation(200, overview_models.OverviewOut, also=(202,), errors=(404, 503)),
    "overviews.sheet": Operation(200, "image/jpeg", **_FILE),  # type: ignore[arg-type]
    "proxies.create": Operation(
        202, proxy_models.ProxyOut, also=(200,), errors=(403, 404, 503, 507)
    ),
    "proxies.show": Operation(200, proxy_models.ProxyOut, also=(202,), errors=(404, 503)),
    "proxies.content": Operation(200, ANY, **_FILE),  # type: ignore[arg-type]
    "overviews.peaks": Operation(200, "application/octet-stream", **_FILE),  # type: ignore[arg-type]
    "jobs.create": Operation(
        201,
        models.JobOut,
        body=JobBody,
        errors=(400, 403, 404, 413, 415, 422, 429, 503, 507),
        keyed=True,
    ),
    "jobs.estimate": Operation(
        200, EstimateOut, body=JobBody, errors=(400, 403, 404, 413, 415, 422, 503)
    ),
    "jobs.index": Operation(200, models.JobPage, query=models.PageQuery, errors=(422, 503)),
    "jobs.show": Operation(200, models.JobOut, errors=(404, 503)),
    "jobs.delete": Operation(204, None, errors=(403, 404, 503)),
    "jobs.delete_output": Operation(204, None, errors=(403, 404, 503)),
    "jobs.cancel": Operation(200, models.JobOut, errors=(403, 404, 503)),
    "jobs.want_mail": Operation(204, None, errors=(403, 404, 503)),
    "jobs.want_no_mail": Operation(204, None, errors=(403, 404, 503)),
    "jobs.again": Operation(
        201,
        models.JobOut,
        query=models.AgainQuery,
        errors=(400, 403, 404, 413, 422, 429, 503, 507),
        keyed=True,
    ),
    "jobs.output": Operation(200, ANY, query=_OutputQuery, **_FILE),  # type: ignore[arg-type]
    "jobs.archive": Operation(200, "application/zip", **_FILE),  # type: ignore[arg-type]
    "shares.index": Operation(200, share_models.ShareList, errors=(404, 503)),
    "shares.create": Operation(
        201,
        share_models.ShareOut,
        body=share_models.ShareBody,
        errors=(400, 403, 404, 415, 422, 503),
    ),
    "shares.delete": Operation(204, None, errors=(403, 404, 503)),
    "hooks.index": Operation(200, hook_models.HookList, errors=(503,)),
    "hooks.create": Operation(
        201, hook_models.HookOut, body=hook_models.HookBody, errors=(400, 403, 415, 422, 503)
    ),
    "hooks.show": Operation(200, hook_models.HookOut, errors=(404, 503)),
    "hooks.change": Operation(
        200, hook_models.HookOut, body=hook_models.HookChange, errors=(400, 403, 404, 415, 422, 503)
    ),
    "hooks.delete": Operation(204, None, errors=(403, 404, 503)),
    "hooks.renew_secret": Operation(200, hook_models.HookOut, errors=(403, 404, 503)),
    "hooks.test": Operation(202, hook_models.TestOut, errors=(403, 404, 422, 503)),
    "hooks.deliveries": Operation(200, hook_models.DeliveryList, errors=(404, 503)),
    "own_account.show": Operation(200, account_models.AccountOut, errors=(404, 503)),
    "own_account.change": Operation(
        200,
        account_models.AccountOut,
        body=account_models.AccountChange,
        errors=(400, 403, 404, 415, 422, 503),
    ),
    "keys.index": Operation(200, account_models.KeyList, errors=(404,)),
    "keys.create": Operation(
        201, account_models.KeyOut, body=account_models.KeyBody, errors=(400, 403, 404, 415, 422)
    ),
    "keys.delete": Operation(204, None, errors=(403, 404)),
    "people.index": Operation(200, account_models.PeopleList, errors=(403, 404)),
    "people.create": Operation(
        201,
        account_models.PersonOut,
        body=account_models.PersonBody,
        errors=(400, 403, 404, 415, 422),
    ),
    "people.show": Operation(200, account_models.PersonOut, errors=(403, 404)),
    "people.change": Operation(
        200,
        account_models.PersonOut,
        body=account_models.PersonChange,
        errors=(400, 403, 404, 415, 422),
    ),
    "people.delete": Operation(204, None, errors=(403, 404, 422, 503)),
    "live.watch": Operation(101, None, errors=(400, 403, 404)),
    "live.watch_all": Operation(101, None, query=_LiveQuery, errors=(400, 403)),
    "queue.status": Operation(200, models.QueueStatus),
    "queue.progress": Operation(204, None, body=models.ProgressBody, errors=(400, 401, 409, 413)),
    "health.healthz": Operation(200, models.Health, also=(503,)),
    "health.metrics": Operation(200, "text/plain"),
    "openapi.document": Operation(200, "application/json"),
}


@blueprint.get("/api/openapi.json")
def document() -> Response:
    """This description."""
    return jsonify(describe(current_app))


def describe(app: Flask) -> dict[str, Any]:
    """The routes of `app` that are in `OPERATIONS`, as an OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        operation = OPERATIONS.get(rule.endpoint)
        if operation is None:
            continue
        path = paths.setdefault(_PLACEHOLDER.sub(r"{\1}", rule.rule), {})
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path[method.lower()] = _operation(app, rule, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "CUTMV", "version": f"{VERSION} (CUTMV {__version__})"},
        "servers": [{"url": "/"}],
        "paths": paths,
        "security": [{"key": []}, {"session": []}],
        "components": {"schemas": _schemas(), "securitySchemes": _WAYS_IN},
    }


def _operation(app: Flask, rule: Rule, operation: Operation) -> dict[str, Any]:
    summary = (app.view_functions[rule.endpoint].__doc__ or "").strip().partition("\n")[0]
    responses: dict[str, Any] = {
        str(operation.status): {"description": "Success.", **_content(operation.answer)}
    }
    for status in operation.also:
        responses[str(status)] = {"description": "See RFC 9110.", **_content(operation.answer)}
    is_open = rule.endpoint in OPEN
    for status in sorted({*operation.errors, *ANYWHERE, *(() if is_open else (401,))}):
        problem = {"application/problem+json": {"schema": _ref(models.ProblemOut)}}
        responses[str(status)] = {
            "description": "What was wrong, and what to do.",
            "content": problem,
        }
    described: dict[str, Any] = {
        "operationId": rule.endpoint,
        "summary": summary,
        "parameters": _parameters(rule, operation),
        "responses": responses,
    }
    if is_open:
        described["security"] = []
    if isinstance(operation.body, tuple):
        described["requestBody"] = {"content": {media: {} for media in operation.body}}
    elif operation.body is not None:
        described["requestBody"] = {"required": True, **_content(operation.body)}
    return described


def _parameters(rule: Rule, operation: Operation) -> list[dict[str, Any]]:
    text, query = {"type": "string"}, operation.query
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in _PLACEHOLDER.findall(rule.rule)
    ]
    fields = query.model_json_schema()["properties"] if query else {}
    in_query = [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
    key = {"type": "string", "maxLength": MAX_KEY_CHARS}
    in_header = [{"name": KEY_HEADER, "in": "header", "schema": key}] if operation.keyed else []
    return in_path + in_query + in_header


def _content(answer: type[BaseModel] | str | None) -> dict[str, Any]:
    if answer is None:
        return {}
    if isinstance(answer, str):
        return {"content": {answer: {}}}
    return {"content": {"application/json": {"schema": _ref(answer)}}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    used = [
        model
        for operation in OPERATIONS.values()
        for model in (operation.answer, operation.body)
        if isinstance(model, type)
    ]
    both = [(model, "validation") for model in [*used, models.ProblemOut]]
    _, schemas = models_json_schema(both, ref_template=_REF)  # type: ignore[arg-type]
    return dict(schemas["$defs"])
