"""The first administrator: of the settings, or by a link that the first start prints."""

import sys

from flask import Flask

from cutmv.people import Accounts, Person, Refused, TokenKind
from cutmv.web.state import web_of

#: The exit code by which a worker of gunicorn's ends the server, too.
BOOT_ERROR = 3


def prepare_administrator(app: Flask, address: str) -> None:
    """See that somebody can administrate an `app` where people sign in; `address` is its own.

    Prints a link while there is nobody. Ends the process when the settings name an administrator
    who can't be.
    """
    here = web_of(app)
    services = here.services
    if not here.door.sign_in:
        return
    if services.accounts.has_administrator():
        services.accounts.forget_who_waits()
        return
    access = services.settings.access
    if access.admin_email is not None:
        try:
            services.accounts.add(access.admin_email, password=access.admin_password, is_admin=True)
        except Refused as error:
            print(f"CUTMV_ADMIN_EMAIL, CUTMV_ADMIN_PASSWORD: {error}", file=sys.stderr)  # noqa: T201
            sys.exit(BOOT_ERROR)
        return
    token = services.sessions.begin(_nobody_yet(services.accounts), TokenKind.PASSWORD)
    where = f"{(access.url or address).rstrip('/')}/link/{TokenKind.PASSWORD}/{token}"
    # Not by the log, which is kept and sent to others.
    print(f"CUTMV has no administrator yet. Open this link, once, to be it: {where}", flush=True)  # noqa: T201


def _nobody_yet(accounts: Accounts) -> Person:
    """The account that waits for its administrator."""
    waits = (each for each in accounts.all() if each.is_admin and each.email is None)
    return next(waits, None) or accounts.add(None, name="administrator", is_admin=True)
