"""What a request shows of who makes it: an API key, or the cookie of a session."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from flask import Request, Response, g, request

from cutmv.database import DATABASE_AWAY
from cutmv.people import SESSION_S, Person, token_hash
from cutmv.services import Services
from cutmv.web.access import person
from cutmv.web.auth.attempts import attempts, too_often
from cutmv.web.clients import client_address
from cutmv.web.state import web

#: The header and the field of a form that carry a session's CSRF token.
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"


@dataclass(frozen=True)
class Credential:
    """An API key, or the token of a session."""

    kind: str
    secret: str

    def person(self, services: Services) -> Person | None:
        """Whose it is, while it is good. Raises SQLAlchemyError."""
        if self.kind == "key":
            return services.api_keys.person(self.secret)
        return services.sessions.person(self.secret)

    @property
    def csrf_token(self) -> str:
        """What a page of this session knows and no page of another site can."""
        return token_hash("csrf", self.secret)


@dataclass(frozen=True)
class Onlooker:
    """Who looks on by a credential, and whose uploads and jobs they may know of; None for all."""

    credential: Credential
    sees: str | None

    def is_good(self, services: Services) -> bool:
        """Whether they still may, as far as is known: the database may be away."""
        try:
            person = self.credential.person(services)
        except DATABASE_AWAY:
            return True
        return person is not None and person.sees == self.sees


def shown(request: Request) -> Credential | None:
    """What the request shows; the key, where it shows both."""
    authorization = request.authorization
    if authorization is not None:
        bearer = authorization.type == "bearer" and authorization.token
        return Credential("key", bearer or "")
    cookie = request.cookies.get(_cookie_name(request))
    return Credential("session", cookie) if cookie else None


def knows_csrf_token(request: Request, credential: Credential) -> bool:
    """Whether the request comes from a page of ours; a program with a key has none to come from."""
    if credential.kind == "key":
        return True
    given = request.headers.get(CSRF_HEADER)
    # An upload's form is not read here: it is streamed.
    if given is None and request.mimetype == "application/x-www-form-urlencoded":
        given = request.form.get(CSRF_FIELD)
    return hmac.compare_digest((given or "").encode(), credential.csrf_token.encode())


def begin_session(person: Person, answer: Callable[[], Response]) -> Response:
    """Sign a person in: the browser gets a session of its own, and any it had ends.

    `answer` is asked then, so that the forms of its page are good. Raises as `Sessions.begin`.
    """
    sessions = web().services.sessions
    token = sessions.begin(person)
    if (before := request.cookies.get(_cookie_name(request))) is not None:
        sessions.end(before)
    g.csrf_token = Credential("session", token).csrf_token
    response = answer()
    response.set_cookie(
        _cookie_name(request),
        token,
        max_age=int(SESSION_S),
        httponly=True,
        samesite="Lax",
        secure=request.is_secure,
    )
    return response


def refused_again(page: Callable[..., Response]) -> Response | None:
    """None for a form with the current password of its person, or where they have none.

    Else a refusal, by a page that takes a `problem` and a `status`.
    """
    me = person()
    if wait_s := attempts().wait_s(client_address(), me.email or str(me.id)):
        return too_often(page, wait_s)
    current = request.form.get("current", "")
    if me.has_password and web().services.accounts.signed_in(me.email or "", current) is None:
        return page(problem="The current password is wrong.", status=403)
    return None


def end_session(response: Response) -> Response:
    """Sign out."""
    if (token := request.cookies.get(_cookie_name(request))) is not None:
        web().services.sessions.end(token)
    response.delete_cookie(_cookie_name(request), secure=request.is_secure, samesite="Lax")
    return response


def _cookie_name(request: Request) -> str:
    # The prefix has browsers refuse one that another host of the domain sets (RFC 6265bis 4.1.3.2).
    return "__Host-cutmv" if request.is_secure else "cutmv"
