"""How many rows of the database somebody may have, since small ones fill it too.

They are counted when one is added. What was deleted counts for as long as its note is kept, or
whoever adds and deletes all day had no bound.
"""

import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.jobs.quotas.refusals import TooManyRows
from cutmv.jobs.tables import (
    deletions,
    derivatives,
    hook_deliveries,
    hooks,
    is_coming,
    jobs,
    multipart_uploads,
    shares,
    steps,
    uploads,
    whole,
)
from cutmv.people import own_quota


def most_rows(db: sa.Connection, person_id: str | None, limits: Limits) -> int | None:
    """The rows that a person may have at most; None for no bound, as `most_bytes`."""
    own = own_quota(db, person_id, "rows")
    return limits.rows_of(person_id) if own is None else own


def kept_rows(db: sa.Connection, person_id: str | None) -> int:
    """The rows of a person's uploads and jobs, of all that belongs to them, and of deleted ones."""
    whose = [
        (uploads, uploads.c.person_id, sa.true()),
        (multipart_uploads, multipart_uploads.c.person_id, is_coming),
        (derivatives.join(uploads), uploads.c.person_id, sa.true()),
        (jobs, jobs.c.person_id, sa.true()),
        (steps.join(jobs), jobs.c.person_id, whole),
        (shares.join(jobs), jobs.c.person_id, sa.true()),
        (hook_deliveries.join(hooks), hooks.c.person_id, sa.true()),
        (deletions, deletions.c.person_id, sa.true()),
    ]
    counted = [
        sa.select(sa.func.count()).select_from(kept).where(owner == person_id, condition)
        for kept, owner, condition in whose
    ]
    return sum(db.scalar(each) or 0 for each in counted)


def require_rows(db: sa.Connection, person_id: str | None, limits: Limits, wanted: int = 0) -> None:
    """Raise TooManyRows unless a person may have `wanted` rows more than there are in `db`.

    Those that were just added, in its transaction, are there.
    """
    most = most_rows(db, person_id, limits)
    if most is not None and kept_rows(db, person_id) + wanted > most:
        raise TooManyRows(most)


def require_row(
    engine: sa.Engine, person_id: str | None, limits: Limits, upload_id: str = ""
) -> None:
    """Raise TooManyRows where a person has all that may be, and does not have this upload.

    Nobody waits for that. SQLite has one writer at a time: who is refused again and again in a
    transaction that writes would be that.
    """
    with engine.connect().execution_options(reads_only=True) as db:
        if not db.scalar(sa.select(sa.exists().where(uploads.c.id == upload_id))):
            require_rows(db, person_id, limits, wanted=1)
