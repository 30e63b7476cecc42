"""How many steps of one person may wait, or run."""

import sqlalchemy as sa

from cutmv.jobs.model import OPEN_STATES
from cutmv.jobs.quotas.refusals import TooManySteps
from cutmv.jobs.request import TooLargeJob
from cutmv.jobs.tables import jobs, steps, whole
from cutmv.people import own_quota

#: The key of PostgreSQL's advisory locks of people; any that is ours.
LOCK_KEY = 7_041_777


def alone_with(db: sa.Connection, person_id: str | None) -> None:
    """Have all others who add to what a person has wait for the end of this transaction.

    To be called before anything is read. SQLite has one writer at a time as it is.
    """
    if db.dialect.name == "postgresql":
        key = sa.func.hashtext(person_id or "")
        lock = sa.func.pg_advisory_xact_lock(sa.literal(LOCK_KEY, sa.Integer), key)
        db.execute(sa.select(lock))


def require_steps(db: sa.Connection, person_id: str | None, wanted: int, most: int) -> None:
    """Raise TooManySteps unless a person may have the `wanted` steps that were just added.

    TooLargeJob where they never may. `most` is for people without a quota.
    """
    own = own_quota(db, person_id, "waiting_steps")
    allowed = most if own is None else own
    if wanted > allowed:
        raise TooLargeJob(f"The job has {wanted} outputs; {allowed} may wait at most.")
    if (unfinished := unfinished_steps(db, person_id)) > allowed:
        raise TooManySteps(wanted, unfinished - wanted, allowed)


def unfinished_steps(db: sa.Connection, person_id: str | None) -> int:
    """How many steps of a person have not ended; parts are not counted."""
    theirs = sa.and_(jobs.c.person_id == person_id, steps.c.state.in_(OPEN_STATES))
    count = sa.select(sa.func.count()).select_from(steps.join(jobs))
    return db.scalar(count.where(theirs, whole)) or 0
