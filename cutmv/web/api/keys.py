"""API keys of the person who asks."""

from flask import Blueprint, Response, jsonify

from cutmv.web.access import person
from cutmv.web.api.account_models import KeyBody, key_json
from cutmv.web.api.problems import json_body, validated
from cutmv.web.state import web

blueprint = Blueprint("keys", __name__, url_prefix="/api/keys")


@blueprint.get("")
def index() -> Response:
    """One's own API keys, the newest first."""
    return jsonify(keys=[key_json(key) for key in web().services.api_keys.of(str(person().id))])


@blueprint.post("")
def create() -> tuple[Response, int]:
    """Make an API key; this answer alone has it. No key makes another."""
    wanted = validated(KeyBody, json_body())
    key, secret = web().services.api_keys.add(str(person().id), wanted.name, wanted.days)
    return jsonify({**key_json(key), "key": secret}), 201


@blueprint.delete("/<key_id>")
def delete(key_id: str) -> tuple[str, int]:
    """End an API key at once."""
    web().services.api_keys.delete(str(person().id), key_id)
    return "", 204
