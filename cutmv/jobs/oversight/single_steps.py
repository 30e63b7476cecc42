"""What operators do to single steps. All functions raise SQLAlchemyError when the store fails."""

import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs.model import OPEN_STATES, Division, State, Step, UnknownJob
from cutmv.jobs.rows import CANCELLED, shown_step
from cutmv.jobs.store import JobStore, settle
from cutmv.jobs.tables import jobs, steps, whole


class NotFailed(Exception):
    """A step that has not failed can't be tried again; one line for people."""

    def __init__(self) -> None:
        super().__init__("Only an output that has failed can be tried again.")


class NotOpen(Exception):
    """A step that has ended can't be stopped; one line for people."""

    def __init__(self) -> None:
        super().__init__("Only an output that waits or is being made can be stopped.")


def retry(store: JobStore, step_id: str) -> Step:
    """Queue a step anew that has failed; nobody has its message yet.

    Raises UnknownJob, NotFailed.
    """
    with store.engine.begin() as db:
        failed = sa.and_(steps.c.id == step_id, whole, steps.c.state == State.FAILED)
        divided = sa.case((steps.c.division.is_not(None), Division.WHOLE), else_=None)
        row = db.execute(
            steps.update()
            .where(failed)
            .values(
                state=State.QUEUED,
                stage=None,
                percent=0.0,
                attempts=0,
                failures=0,
                error=None,
                traceback=None,
                ended_at=None,
                enqueued_at=None,
                resends=0,
                queued_at=now(),
                division=divided,
            )
            .returning(steps)
        ).one_or_none()
        if row is None:
            _require(db, step_id)
            raise NotFailed
        again = {"finished_at": None, "error": None}
        db.execute(jobs.update().where(jobs.c.id == row.job_id).values(again))
        settle(db, row.job_id)
    return shown_step(row)


def revoke(store: JobStore, step_id: str) -> Step:
    """Cancel one step; its worker stops within a second. Raises UnknownJob, NotOpen."""
    with store.engine.begin() as db:
        its = sa.or_(steps.c.id == step_id, steps.c.parent_id == step_id)
        ended = db.execute(
            steps.update()
            .where(its, steps.c.state.in_(OPEN_STATES))
            .values(CANCELLED)
            .returning(steps.c.job_id)
        ).first()
        if ended is None:
            _require(db, step_id)
            raise NotOpen
        settle(db, ended.job_id)
        return shown_step(db.execute(sa.select(steps).where(steps.c.id == step_id)).one())


def _require(db: sa.Connection, step_id: str) -> None:
    """Raise UnknownJob unless there is a step of this id, which is no part."""
    if db.execute(sa.select(steps.c.id).where(steps.c.id == step_id, whole)).first() is None:
        raise UnknownJob(f"There is no output {step_id}; its job may have been deleted.")
