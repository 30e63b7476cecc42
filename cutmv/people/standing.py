"""Whether an account still stands, for others' transactions."""

from typing import Any

import sqlalchemy as sa

from cutmv.people.accounts import to_person
from cutmv.people.model import AccountGone, Person, SignsInOtherwise
from cutmv.people.tables import people


def require_account(db: sa.Connection, person_id: str) -> None:
    """Keep an account from being disabled or deleted until the transaction of `db` ends.

    Whoever adds something for a person calls it in the same transaction, so that a deletion of the
    account finds all that was added before it, and nothing is added after. Raises AccountGone.
    """
    _held(db, person_id)


def require_unchanged(db: sa.Connection, person: Person) -> None:
    """As `require_account`, and the person signs in by the same as when `person` was read.

    Raises AccountGone, SignsInOtherwise.
    """
    if to_person(_held(db, str(person.id))).signs_in_by != person.signs_in_by:
        raise SignsInOtherwise


def _held(db: sa.Connection, person_id: str) -> sa.Row[Any]:
    own = sa.and_(people.c.id == person_id, people.c.disabled_at.is_(None))
    row = db.execute(sa.select(people).where(own).with_for_update(read=True)).one_or_none()
    if row is None:
        raise AccountGone
    return row


def is_enabled(db: sa.Connection, person_id: str | None) -> bool:
    """Whether an account is there and enabled; nobody's, where nobody signs in, always is."""
    own = sa.and_(people.c.id == person_id, people.c.disabled_at.is_(None))
    return person_id is None or db.scalar(sa.select(people.c.id).where(own)) is not None


def enabled_ids() -> sa.Select[tuple[str]]:
    """The ids of the accounts that are enabled, for others' statements."""
    return sa.select(people.c.id).where(people.c.disabled_at.is_(None))
