"""What one person uses, of how much, for people to see."""

from dataclasses import dataclass

import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.jobs.model import OPEN_STATES
from cutmv.jobs.quotas.kept import kept_rows, most_rows
from cutmv.jobs.quotas.stored import coming_bytes, most_bytes, stored_bytes
from cutmv.jobs.quotas.waiting import unfinished_steps
from cutmv.jobs.tables import jobs
from cutmv.people import own_quota


@dataclass(frozen=True)
class Used:
    """How much of something is used, and how much may be; None for no bound."""

    used: int
    most: int | None


def usage(engine: sa.Engine, limits: Limits, person_id: str | None) -> dict[str, Used]:
    """What a person uses of each quota that the database counts, by its name.

    Of the `jobs` that have not ended `most` run at once. Raises SQLAlchemyError.
    """
    theirs = sa.and_(jobs.c.person_id == person_id, jobs.c.state.in_(OPEN_STATES))
    with engine.connect().execution_options(reads_only=True) as db:
        unfinished = db.scalar(sa.select(sa.func.count()).select_from(jobs).where(theirs)) or 0
        at_once = own_quota(db, person_id, "jobs")
        waiting = own_quota(db, person_id, "waiting_steps")
        most_waiting = limits.waiting_steps if waiting is None else waiting
        stored = stored_bytes(db, person_id) + coming_bytes(db, person_id)
        return {
            "jobs": Used(unfinished, limits.jobs if at_once is None else at_once),
            "waiting_steps": Used(unfinished_steps(db, person_id), most_waiting),
            "stored_bytes": Used(stored, most_bytes(db, person_id, limits)),
            "rows": Used(kept_rows(db, person_id), most_rows(db, person_id, limits)),
        }
