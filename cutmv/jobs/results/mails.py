"""Which jobs their owners want to be mailed about, once they have ended."""

from typing import Any

import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs.model import OPEN_STATES, Job, UnknownJob
from cutmv.jobs.rows import load_jobs
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import jobs

#: Seconds since a job ended after which a mail that could not be sent is given up: nobody waits.
GIVEN_UP_S = 86_400.0
#: Jobs that one look finds.
MOST = 20


class JobMails:
    """The wanted mails of a job store. All methods raise SQLAlchemyError when it fails."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def want(self, job_id: str, *, wanted: bool) -> None:
        """Note that a mail of a job is wanted, or not any more. Raises UnknownJob."""
        self._set(job_id, now() if wanted else sa.null())

    def due(self) -> list[Job]:
        """Jobs that have ended and of which a mail is wanted, those first that ended first."""
        due = sa.and_(jobs.c.mail_wanted_at.is_not(None), jobs.c.state.not_in(OPEN_STATES))
        with self._store.reading() as db:
            oldest = sa.select(jobs.c.id).where(due).order_by(jobs.c.finished_at).limit(MOST)
            ids = [each for each in db.scalars(oldest) if isinstance(each, str)]
            found = load_jobs(db, jobs.c.id.in_(ids))
        return found[::-1]

    def done(self, job_id: str) -> None:
        """Note that a mail was sent, or is not to be. Raises UnknownJob."""
        self._set(job_id, sa.null())

    def is_too_late(self, job: Job) -> bool:
        """Whether a job ended so long ago that nobody waits for a mail."""
        with self._store.reading() as db:
            at = db.scalar(sa.select(now())) or 0.0
        return at - (job.finished_at or 0.0) > GIVEN_UP_S

    def _set(self, job_id: str, at: Any) -> None:
        """Note since when a mail of a job is wanted: a number, or an expression."""
        with self._store.engine.begin() as db:
            changed = jobs.update().where(jobs.c.id == job_id).values(mail_wanted_at=at)
            if not db.execute(changed).rowcount:
                raise UnknownJob(f"There is no job {job_id}; it may have expired.")
