"""Signing in: whose a request is, the pages to sign in, and those of an account and of accounts.

`guard` sees every request and says whose it is, by `credentials`; `sign_in`, `account`,
`second_factor` and `people_page` are the pages; `attempts` bounds guesses, `mailer` sends links,
and `first` makes the administrator. Sessions are rows of the database, not signed cookies, so that
they end at once; that leaves nothing for Flask-Login to do. The package may import `cutmv.people`
and of the web application its state, its access rules and its errors.
"""

from flask import Flask

from cutmv.web.auth import (
    account,
    attempts,
    guard,
    mailer,
    people_page,
    second_factor,
    sign_in,
)
from cutmv.web.auth.first import BOOT_ERROR, prepare_administrator
from cutmv.web.auth.mailer import deliver, letter

__all__ = ["BOOT_ERROR", "deliver", "letter", "prepare_administrator", "register"]


def register(app: Flask) -> None:
    """Have each request of `app` be somebody's, and add the pages."""
    attempts.register(app)
    mailer.register(app)
    guard.register(app)
    for module in (sign_in, account, second_factor, people_page):
        app.register_blueprint(module.blueprint)
