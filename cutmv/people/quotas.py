"""The quotas that people have of their own, for others' transactions."""

import sqlalchemy as sa

from cutmv.people.model import read_quotas
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
    found = {row.id: read_quotas(row.quotas) for row in db.execute(query)}
    return {person_id: quotas[name] for person_id, quotas in found.items() if name in quotas}


def own_quota(db: sa.Connection, person_id: str | None, name: str) -> int | None:
    """The quota of this name that a person has of their own, if they have."""
    told = db.scalar(sa.select(people.c.quotas).where(people.c.id == person_id))
    return read_quotas(told).get(name)


def kept_days(db: sa.Connection, usual: float) -> dict[str, float]:
    """For how many days what is somebody's is kept, of each person for whom that is not `usual`."""
    own: dict[str, float] = {**own_quotas(db, "retention_days")}
    wishes = sa.select(people.c.id, people.c.retention_days)
    for row in db.execute(wishes.where(people.c.retention_days > 0)):
        if not isinstance(row.retention_days, int):  # a damaged row
            continue
        own[row.id] = min(row.retention_days, own.get(row.id, usual))
    return own
