"""Send links by e-mail, where CUTMV_SMTP_URL is set, from a thread: nobody learns by the time that
an answer takes who has an account."""

import logging
import smtplib
import ssl
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import cast
from urllib.parse import unquote, urlsplit

from flask import Flask, current_app

from cutmv.web.state import web_of

#: Seconds that a mail server may be silent.
TIMEOUT_S = 15.0
#: The name under which Flask keeps the mailer.
EXTENSION = "cutmv-mailer"

log = logging.getLogger(__name__)


class Mailer:
    """Sends mail by the server of a URL: `smtp://`, with STARTTLS where it is offered, `smtps://`."""

    def __init__(self, url: str | None, sender: str) -> None:
        self._url, self._sender = url, sender
        self._executor = ThreadPoolExecutor(1, "mailer")

    @property
    def sends(self) -> bool:
        """Whether there is a mail server."""
        return self._url is not None

    def send(self, to: str, subject: str, text: str) -> None:
        """Send a mail soon; one that can't be sent is logged, without its text."""
        if self._url is not None:
            message = letter(self._sender, to, subject, text)
            self._executor.submit(self._deliver, self._url, message)

    def _deliver(self, url: str, message: EmailMessage) -> None:
        try:
            deliver(url, message)
        except (OSError, smtplib.SMTPException) as error:
            log.warning("a mail was not sent: %s", type(error).__name__)


def letter(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    """A mail of plain text."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message.set_content(text)
    return message


def deliver(url: str, message: EmailMessage) -> None:
    """Give a message to the mail server of `url`.

    Raises OSError and SMTPException, also where the server would take a password without TLS.
    """
    parts, context = urlsplit(url), ssl.create_default_context()
    host, encrypted = parts.hostname or "", parts.scheme == "smtps"
    with (
        smtplib.SMTP_SSL(host, parts.port or 465, timeout=TIMEOUT_S, context=context)
        if encrypted
        else smtplib.SMTP(host, parts.port or 587, timeout=TIMEOUT_S)
    ) as server:
        server.ehlo()
        if not encrypted and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
            encrypted = True
        if parts.username:
            if not encrypted:
                raise smtplib.SMTPNotSupportedError("no TLS")
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)


def register(app: Flask) -> None:
    """Give `app` its mailer."""
    access = web_of(app).services.settings.access
    app.extensions[EXTENSION] = Mailer(access.smtp_url, access.mail_from)


def mailer() -> Mailer:
    """That of the application which handles this request."""
    return cast(Mailer, current_app.extensions[EXTENSION])
