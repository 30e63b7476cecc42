"""The quotas that people have of their own, for others' transactions."""

import sqlalchemy as sa

from cutmv.people.model import MAX_QUOTA
from cutmv.people.tables import people


def own_quotas(
    db: sa.Connection, name: str, whose: sa.Select[tuple[str]] | None = None
) -> dict[str, int]:
    """The quota of this name of each person (or of those of `whose`) who has one of their own.

    A row that can't be read has none.
    """
    query = sa.select(people.c.id, people.c.quotas).where(people.c.quotas.is_not(None))
    if whose is not None:
        query = query.where(people.c.id.in_(whose))
    found = {row.id: _read(row.quotas, name) for row in db.execute(query)}
    return {person_id: most for person_id, most in found.items() if most is not None}


def own_quota(db: sa.Connection, person_id: str | None, name: str) -> int | None:
    """The quota of this name that a person has of their own, if they have."""
    told = db.scalar(sa.select(people.c.quotas).where(people.c.id == person_id))
    return _read(told, name)


def _read(told: object, name: str) -> int | None:
    most = told.get(name) if isinstance(told, dict) else None
    is_one = isinstance(most, int) and not isinstance(most, bool) and 0 <= most <= MAX_QUOTA
    return most if is_one else None
