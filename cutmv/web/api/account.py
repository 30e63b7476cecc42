"""The account of the person who asks: what they use, of how much, and how long it is kept."""

from flask import Blueprint, Response, jsonify

from cutmv.jobs import usage
from cutmv.people import Person
from cutmv.web.access import person
from cutmv.web.api.account_models import AccountChange, account_json
from cutmv.web.api.problems import Problem, json_body, validated
from cutmv.web.state import web

blueprint = Blueprint("own_account", __name__, url_prefix="/api/account")


@blueprint.get("")
def show() -> Response:
    """Who one is, what one uses, of how much, and for how long it is kept."""
    return _told(person())


@blueprint.patch("")
def change() -> Response:
    """Have one's uploads and jobs kept for fewer days, or (null) for as many as may be."""
    services, me = web().services, person()
    wanted = validated(AccountChange, json_body())
    if me.id is None:
        raise Problem(404, "Nobody signs in here: set CUTMV_RETENTION_DAYS.")
    services.accounts.set_retention(me.id, wanted.retention_days, services.settings.retention_days)
    return _told(services.accounts.get(me.id))


def _told(me: Person) -> Response:
    services = web().services
    used = usage(services.store.engine, services.store.limits, me.id)
    return jsonify(account_json(me, used, services.settings.retention_days))
