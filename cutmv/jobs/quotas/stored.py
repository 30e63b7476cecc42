"""How many bytes somebody has stored: uploads, what is made of them, and outputs, by their rows.

It is summed up when it is asked for. So what is deleted, or expires, is free at once, and no
process that dies leaves a sum which is wrong.
"""

import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.database import now, total
from cutmv.jobs.quotas.refusals import StorageFull
from cutmv.jobs.tables import (
    derivatives,
    is_coming,
    jobs,
    multipart_uploads,
    reservations,
    steps,
    uploads,
    whole,
)
from cutmv.people import own_quota


def most_bytes(db: sa.Connection, person_id: str | None, limits: Limits) -> int | None:
    """The bytes that a person may have stored at most; None for no bound.

    None has the one person of a server where nobody signs in, unless the deployment says otherwise.
    """
    own = own_quota(db, person_id, "stored_bytes")
    return limits.stored_bytes_of(person_id) if own is None else own


def stored_bytes(db: sa.Connection, person_id: str | None) -> int:
    """The bytes of a person's uploads, of what was made of them, and of outputs."""
    outputs = (
        sa.select(total(steps.c.output_size))
        .select_from(jobs.join(steps))
        .where(jobs.c.person_id == person_id, whole)
    )
    kept = sa.select(total(uploads.c.size)).where(uploads.c.person_id == person_id)
    derived = (
        sa.select(total(derivatives.c.bytes))
        .select_from(derivatives.join(uploads))
        .where(uploads.c.person_id == person_id)
    )
    return sum(int(db.scalar(each) or 0) for each in (kept, derived, outputs))


def coming_bytes(db: sa.Connection, person_id: str | None, but: str = "") -> int:
    """The bytes of a person's uploads that are on their way, all but that of the id `but`."""
    of_person = reservations.c.person_id == person_id
    held = sa.select(total(reservations.c.bytes)).where(
        of_person, reservations.c.expires_at > now(), reservations.c.id != but
    )
    begun = sa.select(total(multipart_uploads.c.size)).where(
        multipart_uploads.c.person_id == person_id,
        multipart_uploads.c.id != but,
        is_coming,
    )
    return sum(int(db.scalar(each) or 0) for each in (held, begun))


def require_some_bytes(db: sa.Connection, person_id: str | None, limits: Limits) -> None:
    """Raise StorageFull where a person has stored as much as they may."""
    most = most_bytes(db, person_id, limits)
    if most is not None and (used := stored_bytes(db, person_id)) >= most:
        raise StorageFull(used, most)


def require_bytes(
    db: sa.Connection,
    person_id: str | None,
    limits: Limits,
    size: int,
    but: str,
    *,
    is_stored: bool = False,
) -> None:
    """Raise StorageFull unless a person may store an upload of `size` bytes, whose id is `but`.

    It may be stored already, in this transaction.
    """
    most = most_bytes(db, person_id, limits)
    if most is None:
        return
    used = stored_bytes(db, person_id) + coming_bytes(db, person_id, but)
    used -= size if is_stored else 0
    if used + size > most:
        raise StorageFull(used, most, size)
