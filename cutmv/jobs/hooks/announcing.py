"""Notes that a job's end is to be told, in the transaction in which it ends: none is forgotten."""

import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs.model import State, new_id
from cutmv.jobs.tables import hook_deliveries, hooks, jobs

#: What is told of a job, by the state in which it ended.
EVENTS = {
    State.DONE: "job.completed",
    State.FAILED: "job.failed",
    State.CANCELLED: "job.cancelled",
}


def announce(db: sa.Connection, job_id: str) -> None:
    """Have a job's end told to all hooks of its owner. Raises SQLAlchemyError."""
    job = db.execute(
        sa.select(jobs.c.person_id, jobs.c.state, jobs.c.finished_at).where(jobs.c.id == job_id)
    ).one()
    own = hooks.c.person_id.is_not_distinct_from(job.person_id)
    # A hook that is being deleted is waited for, and then is none of them.
    there = sa.select(hooks.c.id).where(own, hooks.c.disabled_at.is_(None))
    for hook_id in db.scalars(there.with_for_update(read=True, key_share=True)).all():
        db.execute(
            hook_deliveries.insert().values(
                id=new_id(),
                hook_id=hook_id,
                job_id=job_id,
                event=EVENTS[State(job.state)],
                happened_at=job.finished_at,
                attempts=0,
                due_at=now(),
            )
        )
