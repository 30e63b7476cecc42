"""Accounts, for administrators."""

from flask import Blueprint, Response, g, jsonify

from cutmv.web.api.account_models import PersonBody, PersonChange, person_json
from cutmv.web.api.problems import Problem, json_body, validated
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
    _require_session(
        wanted.is_admin or wanted.password is not None, "makes administrators and sets passwords"
    )
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
    _require_session(
        wanted.is_admin is not None or wanted.email is not None,
        "makes administrators and changes addresses",
    )
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


def _require_session(is_wanted: bool, what: str) -> None:
    """Refuse to a key what gives more than it has: who may sign in, and as an administrator."""
    if is_wanted and g.credential.kind == "key":
        raise Problem(403, f"Whoever signs in {what}, no API key.")
