"""The administrators' page: who there is, invitations, changes of accounts, deleting."""

import logging

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from cutmv.people import QUOTAS, Person, Refused, TokenKind, whole_number
from cutmv.web.access import person
from cutmv.web.auth.links import mail_link, new_link
from cutmv.web.state import web

blueprint = Blueprint("people_page", __name__, url_prefix="/people")
log = logging.getLogger(__name__)


@blueprint.get("")
def index() -> Response:
    """Everybody who has an account."""
    return _page()


@blueprint.post("")
def invite() -> Response:
    """Make an account, and a link by which its owner chooses a password."""
    accounts = web().services.accounts
    try:
        added = accounts.add(request.form.get("email", ""), is_admin="is_admin" in request.form)
    except Refused as error:
        return _page(problem=str(error), status=422)
    return _linked(added)


@blueprint.post("/<person_id>")
def change(person_id: str) -> Response:
    """Change an account, turn its second factor off, make a link for its owner, or delete it."""
    services, whose = web().services, web().services.accounts.get(person_id)
    try:
        match request.form.get("do"):
            case "disable":
                services.accounts.disable(person_id)
            case "enable":
                services.accounts.enable(person_id)
            case "promote" | "demote" as do:
                services.accounts.change(person_id, is_admin=do == "promote")
            case "address":
                services.accounts.change(person_id, email=request.form.get("email", ""))
            case "quotas":
                services.accounts.set_quotas(person_id, _quotas())
            case "second-factor":
                _turn_off_second_factor(whose)
            case "link":
                return _linked(whose)
            case "delete":
                web().dispatcher.deleter.account(person_id)
            case _:
                raise Refused("The page is out of date: load it again.")
    except Refused as error:
        return _page(problem=str(error), status=422)
    return make_response(redirect(url_for("people_page.index"), 303))


def _turn_off_second_factor(whose: Person) -> None:
    if whose.id == person().id:
        raise Refused("Turn your own second factor off on the page of your account.")
    web().services.second_factors.turn_off(str(whose.id))
    log.info("person %s turned the second factor of %s off", person().id, whose.id)


def _linked(whose: Person) -> Response:
    link = new_link(whose, TokenKind.PASSWORD)
    mail_link(whose, TokenKind.PASSWORD, link)
    return _page(link=link, whose=whose.email or whose.name)


def _quotas() -> dict[str, int]:
    wanted = {}
    for name in QUOTAS:
        if text := request.form.get(name, "").strip():
            most = whole_number(text)
            if most is None:
                raise Refused(f"The quota {name} must be a whole number from 0 up.")
            wanted[name] = most
    return wanted


def _page(*, status: int = 200, **told: str) -> Response:
    everybody = web().services.accounts.all()
    text = render_template("people/people.html", everybody=everybody, quotas=QUOTAS, **told)
    return make_response(text, status)
