"""Accounts, for administrators."""

from flask import Blueprint, Response, jsonify

from cutmv.web.api.account_models import PersonBody, PersonChange, person_json
from cutmv.web.api.problems import json_body, validated
from cutmv.web.state import web

blueprint = Blueprint("people", __name__, url_prefix="/api/people")


@blueprint.get("")
def index() -> Response:
    """Everybody who has an account, the oldest first."""
    return jsonify(people=[person_json(each) for each in web().services.accounts.all()])


@blueprint.post("")
def create() -> tuple[Response, int]:
    """Make an account; without a password its owner chooses one by a link (`cutmv people link`)."""
    wanted = validated(PersonBody, json_body())
    added = web().services.accounts.add(
        wanted.email, name=wanted.name, password=wanted.password, is_admin=wanted.is_admin
    )
    return jsonify(person_json(added)), 201


@blueprint.get("/<person_id>")
def show(person_id: str) -> Response:
    """One account."""
    return jsonify(person_json(web().services.accounts.get(person_id)))


@blueprint.patch("/<person_id>")
def change(person_id: str) -> Response:
    """Change an account: its address, whether it is an administrator's, disabled, its quotas."""
    wanted, accounts = validated(PersonChange, json_body()), web().services.accounts
    accounts.change(
        person_id,
        email=wanted.email,
        is_admin=wanted.is_admin,
        disabled=wanted.disabled,
        quotas=wanted.quotas,
    )
    return jsonify(person_json(accounts.get(person_id)))


@blueprint.delete("/<person_id>")
def delete(person_id: str) -> tuple[str, int]:
    """Delete an account and all that it has: keys, sessions, jobs, uploads, outputs."""
    web().dispatcher.deleter.account(person_id)
    return "", 204
