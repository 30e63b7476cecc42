"""The page of one's webhooks: which there are, what was told; forms add, test and end one."""

import time

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from cutmv.jobs import MAX_HOOKS, Deliveries
from cutmv.people import Refused
from cutmv.web.access import person
from cutmv.web.api.hooks.routes import add, add_test, enable, hooks
from cutmv.web.state import web

blueprint = Blueprint("webhooks", __name__, url_prefix="/webhooks")


@blueprint.get("")
def show() -> Response:
    """One's own webhooks."""
    return _page()


@blueprint.post("")
def create() -> Response:
    """Add one; the page shows its secret this once."""
    try:
        _, secret = add(request.form.get("url", "").strip())
    except Refused as error:
        return _page(problem=str(error), status=422)
    return _page(secret=secret)


@blueprint.post("/<hook_id>")
def change(hook_id: str) -> Response:
    """Test, enable or disable one, make a new secret for it, or delete it."""
    hooks().get(person().id, hook_id)
    try:
        match request.form.get("do"):
            case "test":
                add_test(hook_id)
            case "secret":
                return _page(secret=hooks().renew_secret(person().id, hook_id))
            case "enable" | "disable" as wanted:
                enable(hook_id, enabled=wanted == "enable")
            case "delete":
                hooks().delete(person().id, hook_id)
            case _:
                raise Refused("The page is out of date: load it again.")
    except Refused as error:
        return _page(problem=str(error), status=422)
    return make_response(redirect(url_for("webhooks.show"), 303))


def _page(*, status: int = 200, **told: str) -> Response:
    told_of = Deliveries(web().services.store.engine)
    mine = [(hook, told_of.of(hook)) for hook in hooks().of(person().id)]
    shown = render_template("webhooks.html", hooks=mine, most=MAX_HOOKS, moment=_moment, **told)
    return make_response(shown, status)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
