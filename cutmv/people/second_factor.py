"""The second factor of an account: a code that an app shows, or one that was written down.

An app's code is RFC 6238's with what all apps take: SHA-1, six digits, thirty seconds. Its secret
is kept as it is, since codes are made of it; recovery codes are kept as hashes. Each is good once.
"""

import hmac
import re
import secrets
import string
from typing import Any

import pyotp
import sqlalchemy as sa

from cutmv.database import now
from cutmv.people.model import Refused
from cutmv.people.tables import people, recovery_codes, sessions
from cutmv.people.tokens import token_hash

#: Seconds for which an app shows a code, and how many of them before and after now are good, too:
#: clocks differ (RFC 6238 5.2).
STEP_S, DRIFT = 30, 1
#: Recovery codes of an account, their groups and the characters of each: 120 bits of chance, so
#: that a plain hash is enough.
RECOVERY_CODES, GROUPS, GROUP_CHARS = 10, 4, 6

#: RFC 4648's letters, in which apps take a secret.
_LETTERS = string.ascii_uppercase + "234567"
_SECRET, _CODE = re.compile(r"[A-Z2-7]{32}"), re.compile(r"[0-9]{6}")


class SecondFactors:
    """Those of a database's accounts. Every method raises SQLAlchemyError when that fails."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def turn_on(self, person_id: str, secret: str, code: str) -> list[str]:
        """Have a person sign in by codes of `secret`, too, of which `code` is one.

        All sessions and links of theirs end. Returns the recovery codes. Raises Refused.
        """
        if not is_app_secret(secret):
            raise Refused("The page is out of date: load it again.")
        codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
        with self._engine.begin() as db:
            step = _step_of(secret, _plain(code), db.scalar(sa.select(now())) or 0.0)
            if step is None:
                raise Refused("This code is wrong: type the one that the app shows now.")
            off = sa.and_(people.c.id == person_id, people.c.totp_secret.is_(None))
            values = {"totp_secret": secret, "totp_step": step}
            if not db.execute(people.update().where(off).values(**values)).rowcount:
                raise Refused("There is a second factor already.")
            db.execute(sessions.delete().where(sessions.c.person_id == person_id))
            hashes = [_hash(person_id, _plain(each)) for each in codes]
            rows: list[dict[str, Any]] = [{"hash": h, "person_id": person_id} for h in hashes]
            db.execute(recovery_codes.insert(), rows)
        return codes

    def turn_off(self, person_id: str) -> None:
        """Have a person sign in without a code."""
        with self._engine.begin() as db:
            own = people.c.id == person_id
            db.execute(people.update().where(own).values(totp_secret=None, totp_step=None))
            db.execute(recovery_codes.delete().where(recovery_codes.c.person_id == person_id))

    def take(self, person_id: str, code: str) -> bool:
        """Whether a code is right, the app's or a recovery code; it is good no more."""
        plain = _plain(code)
        with self._engine.begin() as db:
            if _CODE.fullmatch(plain):
                return _take_step(db, person_id, plain)
            own = recovery_codes.c.hash == _hash(person_id, plain)
            return bool(db.execute(recovery_codes.delete().where(own)).rowcount)

    def recovery_codes_left(self, person_id: str) -> int:
        """How many recovery codes of a person are good."""
        own = recovery_codes.c.person_id == person_id
        with self._engine.connect().execution_options(reads_only=True) as db:
            return db.scalar(sa.select(sa.func.count()).where(own)) or 0


def new_app_secret() -> str:
    """A secret for an app: 160 bits, as RFC 4226 recommends."""
    return pyotp.random_base32()


def is_app_secret(text: str) -> bool:
    """Whether a form brings back such a secret."""
    return _SECRET.fullmatch(text) is not None


def app_url(secret: str, account: str) -> str:
    """What an app reads from a QR code: `otpauth://totp/…`."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name="CUTMV")


def _take_step(db: sa.Connection, person_id: str, code: str) -> bool:
    own = people.c.id == person_id
    row = db.execute(sa.select(people.c.totp_secret, now().label("now")).where(own)).one_or_none()
    step = _step_of(row.totp_secret, code, row.now) if row and row.totp_secret else None
    if step is None:
        return False
    # Of two that bring one code at once, one finds it used.
    unused = sa.and_(own, people.c.totp_step < step)
    return bool(db.execute(people.update().where(unused).values(totp_step=step)).rowcount)


def _step_of(secret: str, code: str, at: float) -> int | None:
    """The step of 30 s since 1970 whose code this is, of those about `at`."""
    latest, app = int(at // STEP_S), pyotp.TOTP(secret)
    for step in range(latest - DRIFT, latest + DRIFT + 1):
        if hmac.compare_digest(app.generate_otp(step), code):
            return step
    return None


def _recovery_code() -> str:
    letters = [secrets.choice(_LETTERS) for _ in range(GROUPS * GROUP_CHARS)]
    return "-".join(
        "".join(letters[n : n + GROUP_CHARS]) for n in range(0, len(letters), GROUP_CHARS)
    )


def _plain(code: str) -> str:
    """A code without what people and apps put between its characters; ASCII alone."""
    return re.sub(r"[\s-]", "", code.encode("ascii", "ignore").decode()).upper()


def _hash(person_id: str, code: str) -> str:
    return token_hash(f"recovery of {person_id}", code)
