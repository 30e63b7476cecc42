"""The pages to sign in, by a password or a link that is good once, and by a code where the account
has a second factor; and to sign out."""

import logging

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from cutmv.people import LinkGone, Person, Refused, TokenKind, check_password
from cutmv.web.api.problems import Problem
from cutmv.web.auth.attempts import attempts, too_often
from cutmv.web.auth.credentials import begin_session, end_session
from cutmv.web.auth.links import mail_link
from cutmv.web.auth.mailer import mailer
from cutmv.web.auth.second_factor import WRONG_CODE, is_code_of, wait_for_code_s
from cutmv.web.clients import client_address
from cutmv.web.state import web

blueprint = Blueprint("sign_in", __name__)
log = logging.getLogger(__name__)

#: Kinds of tokens that are links.
LINKS = (TokenKind.SIGN_IN, TokenKind.PASSWORD)


@blueprint.get("/sign-in")
def show() -> Response:
    """The page to sign in."""
    return _page()


@blueprint.post("/sign-in")
def create() -> Response:
    """Sign in by e-mail address and password."""
    email, password = request.form.get("email", ""), request.form.get("password", "")
    if wait_s := attempts().wait_s(client_address(), email):
        return _too_often(wait_s)
    person = web().services.accounts.signed_in(email, password)
    if person is None:
        log.warning("sign-in refused from %s", client_address())
        return _page("The address or the password is wrong.", status=401)
    return _signed_in(_next(), person)


@blueprint.post("/sign-in/code")
def code() -> Response:
    """Sign in by a code of the second factor, after the password or the link."""
    services, token = web().services, request.form.get("token", "")
    person = services.sessions.person(token, TokenKind.CODE)
    if person is None:
        return _page("That took too long: sign in again.", status=401)
    if not person.has_second_factor:
        services.sessions.end(token, TokenKind.CODE)
        return _page("The account's second factor was turned off: sign in again.", status=401)
    if wait_s := wait_for_code_s(person):
        return _too_often(wait_s)
    if not _showed_code(person):
        return _code_page(token, _next(), WRONG_CODE, status=401)
    services.sessions.end(token, TokenKind.CODE)
    return _let_in(_next(), person)


@blueprint.post("/sign-in/mail")
def mail() -> Response:
    """Have a link mailed, to sign in or to choose a password; the answer tells nobody's address."""
    if not mailer().sends:
        raise Problem(404, "This server sends no mail: ask its administrator for a link.")
    email = request.form.get("email", "")
    if wait_s := attempts().wait_s(client_address(), email):
        return _too_often(wait_s)
    person = web().services.accounts.find(email)
    if person is not None and person.disabled_at is None:
        wanted = TokenKind.PASSWORD if "password" in request.form else TokenKind.SIGN_IN
        mail_link(person, wanted)
    return _page(told="If there is an account of this address, a link is on its way to it.")


@blueprint.get("/link/<kind>/<token>")
def link(kind: str, token: str) -> Response:
    """The page of a link that is good once; looking at it, as mail programs do, does not use it."""
    return _link_page(_kind(kind), _whose(kind, token))


@blueprint.post("/link/<kind>/<token>")
def use_link(kind: str, token: str) -> Response:
    """Sign in by a link, or choose a password by it."""
    person = _whose(kind, token)
    if _kind(kind) is TokenKind.PASSWORD:
        return _choose_password(token, person)
    if web().services.sessions.take(token, TokenKind.SIGN_IN) is None:
        raise LinkGone
    return _signed_in("/", person)


@blueprint.post("/sign-out")
def end() -> Response:
    """End this session."""
    return end_session(_to(url_for("sign_in.show")))


def _choose_password(token: str, person: Person) -> Response:
    """Set the password by which the owner of a link signs in from now on; a second factor's code
    is asked for before, so that who has the link alone changes nothing."""

    def again(problem: str, status: int) -> Response:
        return _link_page(TokenKind.PASSWORD, person, problem, status=status)

    password = request.form.get("password", "")
    try:
        check_password(password, person.email)
        if person.has_second_factor:
            if wait_s := wait_for_code_s(person):
                return too_often(again, wait_s)
            if not _showed_code(person):
                return again(WRONG_CODE, 403)
        person = web().services.accounts.set_password(
            str(person.id), password, email=request.form.get("email"), link=token
        )
    except Refused as error:
        return again(str(error), 422)
    return _let_in("/", person)


def _showed_code(person: Person) -> bool:
    right = is_code_of(person)
    if not right:
        log.warning("a code of person %s refused from %s", person.id, client_address())
    return right


def _kind(kind: str) -> TokenKind:
    if kind not in LINKS:
        raise LinkGone
    return TokenKind(kind)


def _whose(kind: str, token: str) -> Person:
    person = web().services.sessions.person(token, _kind(kind))
    if person is None:
        raise LinkGone
    return person


def _page(problem: str | None = None, *, told: str | None = None, status: int = 200) -> Response:
    text = render_template(
        "people/sign_in.html", problem=problem, told=told, mails=mailer().sends, next=_next()
    )
    return _kept_by_nobody(text, status)


def _link_page(
    kind: TokenKind, person: Person, problem: str | None = None, *, status: int = 200
) -> Response:
    text = render_template("people/link.html", kind=kind, whose=person, problem=problem)
    return _kept_by_nobody(text, status)


def _code_page(
    token: str, where: str, problem: str | None = None, *, status: int = 200
) -> Response:
    text = render_template("people/code.html", token=token, next=where, problem=problem)
    return _kept_by_nobody(text, status)


def _kept_by_nobody(text: str, status: int) -> Response:
    response = make_response(text, status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _signed_in(where: str, person: Person) -> Response:
    """Let in who has shown a password or a link, or ask for the code of their second factor."""
    if not person.has_second_factor:
        return _let_in(where, person)
    token = web().services.sessions.begin(person, TokenKind.CODE)
    return _code_page(token, where)


def _let_in(where: str, person: Person) -> Response:
    log.info("person %s signed in from %s", person.id, client_address())
    return begin_session(person, lambda: _to(where))


def _too_often(wait_s: int) -> Response:
    log.warning("too many attempts to sign in from %s", client_address())
    return too_often(_page, wait_s)


def _next() -> str:
    """The page of ours that was asked for; nothing leads to another site."""
    asked = request.values.get("next", "/")
    ours = asked.startswith("/") and asked.isprintable() and "\\" not in asked
    return asked if ours and not asked.startswith("//") else "/"


def _to(where: str) -> Response:
    return make_response(redirect(where, 303))
