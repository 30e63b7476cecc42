"""The hooks of people: addresses, and the secrets by which receivers know who sends.

A secret signs, so it is kept as it is, and told once. A new one takes its place when its owner asks
for it; for a day both sign, so that receivers can change it without a gap.
"""

import base64
import secrets
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from cutmv.database import now, readable, unreadable
from cutmv.jobs.model import new_id
from cutmv.jobs.tables import hook_deliveries, hooks
from cutmv.people import Refused, require_account

#: Hooks of one person.
MAX_HOOKS = 10
#: Bytes of a secret (Standard Webhooks: 24 to 64), and what its text begins with.
SECRET_BYTES, PREFIX = 32, "whsec_"
#: Seconds for which a secret signs on beside the one that has taken its place.
BOTH_SIGN_S = 86_400.0


class UnknownHook(Exception):
    """The person has no such hook, or no longer; one line for people."""

    def __init__(self) -> None:
        super().__init__("There is no such webhook; it may have been deleted.")


@dataclass(frozen=True)
class Hook:
    """Where the ends of a person's jobs are told; times in seconds since 1970.

    It has a `person_id`, but for the one person of a server where nobody signs in. `secrets` are
    those that sign now, with a space between two.
    """

    id: str
    person_id: str | None
    url: str
    secrets: str = field(repr=False)
    created_at: float
    disabled_at: float | None
    disabled_why: str | None


class Hooks:
    """The hooks of a database. All methods raise SQLAlchemyError when it fails."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, person_id: str | None, url: str) -> tuple[Hook, str]:
        """A new hook, and its secret; whoever calls has checked the address.

        Raises Refused, AccountGone.
        """
        hook_id, secret = new_id(), _new_secret()
        with self._engine.begin() as db:
            if person_id is not None:
                require_account(db, person_id)
            count = sa.select(sa.func.count()).select_from(hooks).where(_owned(person_id))
            if (db.scalar(count) or 0) >= MAX_HOOKS:
                raise Refused(f"One person has {MAX_HOOKS} webhooks at most: delete one first.")
            values = {"id": hook_id, "person_id": person_id, "url": url, "secret": secret}
            db.execute(hooks.insert().values(**values, created_at=now()))
        return self.get(person_id, hook_id), secret

    def of(self, person_id: str | None) -> list[Hook]:
        """The hooks of a person, the oldest first."""
        query = sa.select(hooks, now().label("now")).where(_owned(person_id))
        with self._reading() as db:
            return [to_hook(row) for row in db.execute(query.order_by(hooks.c.created_at))]

    def get(self, person_id: str | None, hook_id: str) -> Hook:
        """A hook of a person. Raises UnknownHook."""
        found = next((hook for hook in self.of(person_id) if hook.id == hook_id), None)
        if found is None:
            raise UnknownHook
        return found

    def renew_secret(self, person_id: str | None, hook_id: str) -> str:
        """A new secret for a hook; that of before signs, too, for a day. Raises UnknownHook."""
        secret = _new_secret()
        self._change(
            person_id,
            hook_id,
            old_secret=hooks.c.secret,
            old_until=now() + BOTH_SIGN_S,
            secret=secret,
        )
        return secret

    def enable(self, person_id: str | None, hook_id: str) -> None:
        """Have what happens from now on sent to a hook again. Raises UnknownHook."""
        self._change(person_id, hook_id, disabled_at=None, disabled_why=None)

    def disable(self, person_id: str | None, hook_id: str, why: str) -> None:
        """Have nothing sent to a hook any more; what waits has failed. Raises UnknownHook."""
        with self._engine.begin() as db:
            own = sa.and_(_owned(person_id), hooks.c.id == hook_id)
            values = {"disabled_at": now(), "disabled_why": why}
            if not db.execute(hooks.update().where(own).values(**values)).rowcount:
                raise UnknownHook
            waits = sa.and_(
                hook_deliveries.c.hook_id == hook_id, hook_deliveries.c.due_at.is_not(None)
            )
            ended = {"due_at": None, "failed_at": now()}
            db.execute(hook_deliveries.update().where(waits).values(**ended))

    def delete(self, person_id: str | None, hook_id: str) -> None:
        """Delete a hook with all that was to be told there. Raises UnknownHook."""
        own = sa.and_(_owned(person_id), hooks.c.id == hook_id)
        with self._engine.begin() as db:
            if not db.execute(hooks.delete().where(own)).rowcount:
                raise UnknownHook

    def _reading(self) -> sa.Connection:
        return self._engine.connect().execution_options(reads_only=True)

    def _change(self, person_id: str | None, hook_id: str, **values: Any) -> None:
        own = sa.and_(_owned(person_id), hooks.c.id == hook_id)
        with self._engine.begin() as db:
            if not db.execute(hooks.update().where(own).values(**values)).rowcount:
                raise UnknownHook


def to_hook(row: sa.Row[Any]) -> Hook:
    """A row of the hooks table, with the database's `now`, as a Hook.

    One that can't be read is shown with what can be, as disabled by that: nothing is sent there.
    """
    wrong = wrong_of_hook(row)
    told = readable(row, wrong)
    both = not wrong and row.old_secret is not None and row.now < row.old_until
    why = f"The row of this webhook can't be read ({', '.join(wrong)}): delete it, and add another."
    return Hook(
        id=str(row.id),
        person_id=told["person_id"],
        url=told["url"] or "?",
        secrets=f"{row.secret} {row.old_secret}" if both else told["secret"] or "",
        created_at=told["created_at"] or 0.0,
        disabled_at=told["disabled_at"] or row.now if wrong else row.disabled_at,
        disabled_why=why if wrong else row.disabled_why,
    )


def wrong_of_hook(row: sa.Row[Any]) -> list[str]:
    """The columns of a row of the hooks table that can't be read."""
    wrong = unreadable(hooks, row)
    if row.old_secret is not None and row.old_until is None:
        wrong.append("old_until")
    return wrong


def _owned(person_id: str | None) -> sa.ColumnElement[bool]:
    return hooks.c.person_id.is_not_distinct_from(person_id)


def _new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
