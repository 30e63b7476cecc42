"""The page of one's own second factor: an app's codes, asked for after a password or a link."""

import logging
from functools import partial

import segno
from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from markupsafe import Markup

from cutmv.people import Person, Refused, app_url, is_app_secret, new_app_secret
from cutmv.web.access import person
from cutmv.web.auth.attempts import BY_CODE, attempts, too_often
from cutmv.web.auth.credentials import begin_session, refused_again
from cutmv.web.clients import client_address
from cutmv.web.state import web

blueprint = Blueprint("second_factor", __name__, url_prefix="/account/second-factor")
log = logging.getLogger(__name__)

WRONG_CODE = "The code is wrong, or was used: wait for the app's next one."


@blueprint.get("")
def show() -> Response:
    """How to turn it on, or off."""
    return _page()


@blueprint.post("")
def turn_on() -> Response:
    """Turn it on by the app's first code; the page shows the recovery codes this once."""
    services, me = web().services, person()
    secret = request.form.get("secret", "")
    if refused := refused_again(partial(_page, secret)):
        return refused
    try:
        codes = services.second_factors.turn_on(str(me.id), secret, request.form.get("code", ""))
    except Refused as error:
        return _page(secret, problem=str(error), status=422)
    log.info("person %s turned the second factor on, from %s", me.id, client_address())
    return begin_session(services.accounts.get(str(me.id)), lambda: _page(codes=codes))


@blueprint.post("/off")
def turn_off() -> Response:
    """Turn it off, by a code, unless one must have it."""
    me = person()
    if _must_have(me):
        return _page(problem="A second factor is asked for here: it stays on.", status=403)
    if wait_s := wait_for_code_s(me):
        return too_often(_page, wait_s)
    if not is_code_of(me):
        return _page(problem=WRONG_CODE, status=403)
    web().services.second_factors.turn_off(str(me.id))
    log.info("person %s turned the second factor off, from %s", me.id, client_address())
    return make_response(redirect(url_for("account.show"), 303))


def wait_for_code_s(whose: Person) -> int:
    """Count an attempt at the code of a person; seconds until one is taken, 0 when this one is."""
    return attempts().wait_s(client_address(), _codes_of(whose), BY_CODE)


def is_code_of(whose: Person) -> bool:
    """Whether a form brings a code of a person's, which is good no more; who has one may go on."""
    right = web().services.second_factors.take(str(whose.id), request.form.get("code", ""))
    if right:
        attempts().forget(_codes_of(whose), BY_CODE)
    return right


def _must_have(whose: Person) -> bool:
    access = web().services.settings.access
    return access.needs_second_factor(is_admin=whose.is_admin)


def _codes_of(whose: Person) -> str:
    return f"code of {whose.id}"


def _page(
    secret: str = "",
    *,
    status: int = 200,
    codes: list[str] | None = None,
    problem: str | None = None,
) -> Response:
    """How to turn it off; or on, by the secret that was shown before where that is one."""
    services = web().services
    me = services.accounts.get(str(person().id))
    if not is_app_secret(secret):
        secret = new_app_secret()
    text = render_template(
        "people/second_factor.html",
        is_on=me.has_second_factor,
        must_have=_must_have(me),
        secret=secret,
        qr=None if me.has_second_factor else _qr_code(app_url(secret, me.email or me.name)),
        codes=codes,
        left=services.second_factors.recovery_codes_left(str(me.id)),
        has_password=me.has_password,
        email=me.email,
        problem=problem,
    )
    return make_response(text, status)


def _qr_code(text: str) -> Markup:
    """An SVG to be scanned, dark on light in any colour scheme."""
    code = segno.make(text, micro=False)
    return Markup(code.svg_inline(scale=4, border=4, light="#fff", title="QR code"))  # noqa: S704 (segno's)
