"""The page of one's own account: password, API keys, sessions, what is used and kept."""

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from cutmv.jobs import usage
from cutmv.people import KEY_DAYS, MAX_KEY_DAYS, Refused, whole_number
from cutmv.web.access import person
from cutmv.web.auth.credentials import begin_session, end_session, refused_again
from cutmv.web.state import web

blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("")
def show() -> Response:
    """One's own account."""
    return _page()


@blueprint.post("/password")
def password() -> Response:
    """Choose another password; all other sessions end."""
    services, me = web().services, person()
    if refused := refused_again(_page):
        return refused
    try:
        me = services.accounts.set_password(str(me.id), request.form.get("password", ""))
    except Refused as error:
        return _page(problem=str(error), status=422)
    return begin_session(
        me, lambda: _page(told="The password is changed; other sessions have ended.")
    )


@blueprint.post("/retention")
def retention() -> Response:
    """Choose for how many days what is one's own is kept."""
    services, days = web().services, whole_number(request.form.get("days", ""))
    try:
        services.accounts.set_retention(
            str(person().id), 0 if days is None else days, services.settings.retention_days
        )
    except Refused as error:
        return _page(problem=str(error), status=422)
    return make_response(redirect(url_for("account.show"), 303))


@blueprint.post("/keys")
def add_key() -> Response:
    """Make an API key, which the page shows this once."""
    days = whole_number(request.form.get("days", "")) or 0
    try:
        _, secret = web().services.api_keys.add(
            str(person().id), request.form.get("name", ""), days
        )
    except Refused as error:
        return _page(problem=str(error), status=422)
    return _page(secret=secret)


@blueprint.post("/keys/<key_id>/delete")
def delete_key(key_id: str) -> Response:
    """End an API key."""
    web().services.api_keys.delete(str(person().id), key_id)
    return make_response(redirect(url_for("account.show"), 303))


@blueprint.post("/sign-out-everywhere")
def sign_out_everywhere() -> Response:
    """End all sessions of this person."""
    web().services.sessions.end_all(str(person().id))
    return end_session(make_response(redirect(url_for("sign_in.show"), 303)))


def _page(*, status: int = 200, **told: str) -> Response:
    services = web().services
    keys = services.api_keys.of(str(person().id))
    used = usage(services.store.engine, services.store.limits, person().id)
    kept_days, most_days = person().kept_days(services.settings.retention_days)
    text = render_template(
        "people/account.html",
        keys=keys,
        days=KEY_DAYS,
        max_days=MAX_KEY_DAYS,
        used=used,
        kept_days=kept_days,
        most_days=most_days,
        **told,
    )
    return make_response(text, status)
