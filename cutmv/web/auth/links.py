"""Links that let somebody in once."""

from flask import request, url_for

from cutmv.people import Person, TokenKind
from cutmv.web.auth.mailer import mailer
from cutmv.web.state import web

_TEXTS = {
    TokenKind.SIGN_IN: ("Sign in to CUTMV", "To sign in, open this link within 15 minutes:"),
    TokenKind.PASSWORD: (
        "Choose a password for CUTMV",
        "To choose a password, open this link within three days:",
    ),
}


def new_link(person: Person, kind: TokenKind) -> str:
    """A link for a person, good once; to be shown to an administrator, or mailed.

    The address is that of CUTMV_URL: the one in a request may be whatever its sender likes.
    """
    path = url_for("sign_in.link", kind=kind, token=web().services.sessions.begin(person, kind))
    return (web().services.settings.access.url or request.host_url).rstrip("/") + path


def mail_link(person: Person, kind: TokenKind, link: str | None = None) -> None:
    """Mail a link to a person who has an address, where there is a mail server."""
    if person.email is None or not mailer().sends:
        return
    subject, text = _TEXTS[kind]
    wrong = "Whoever did not ask for it may leave it."
    mailer().send(person.email, subject, f"{text}\n\n{link or new_link(person, kind)}\n\n{wrong}\n")
