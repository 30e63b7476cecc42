"""The job store: keeps uploads, jobs and steps in a SQL database.

`claims` has the statements about a step that runs, `backlog` those about steps that wait; all
others are here. Times are seconds since 1970 by the database's clock. Every method raises
SQLAlchemyError when the database fails.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.database import LATEST_S, now, open_engine
from cutmv.jobs.hooks import announce
from cutmv.jobs.keys import folder_of, upload_key
from cutmv.jobs.model import (
    OPEN_STATES,
    Job,
    KeyReused,
    State,
    Step,
    UnknownJob,
    UnknownUpload,
    Upload,
    job_state,
)
from cutmv.jobs.quotas import (
    TooManyRows,
    alone_with,
    require_held,
    require_row,
    require_rows,
    require_some_bytes,
    require_steps,
)
from cutmv.jobs.rows import (
    CANCELLED,
    load_jobs,
    new_row,
    read_state,
    shown_step,
    shown_upload,
    to_upload,
)
from cutmv.jobs.tables import jobs, multipart_uploads, steps, uploads
from cutmv.media import MediaInfo
from cutmv.people import kept_days, require_account

#: Steps of the jobs of a page after which it ends: some 500 kB of JSON.
MAX_PAGE_STEPS = 500


class JobStore:
    """Uploads, jobs and steps in a SQL database, shared by all processes of a deployment.

    `limits` bound what people have who have no quotas of their own.

    >>> store = JobStore("sqlite:////var/lib/cutmv/cutmv.db")
    >>> store.job(job_id).state
    <State.DONE: 'done'>
    """

    def __init__(self, url: str, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self.engine, self.limits = open_engine(url), limits

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    def reading(self) -> sa.Connection:
        """A connection whose transaction sees one state of the database and takes no write lock."""
        return self.engine.connect().execution_options(reads_only=True)

    def check(self) -> None:
        """Raise SQLAlchemyError unless the database answers, and has what is asked of it."""
        with self.reading() as db:
            for table in (uploads, jobs, steps):
                db.execute(sa.select(table.c.id).limit(1))

    # Uploads

    def add_upload(self, upload: Upload) -> Upload:
        """Keep `upload`; its `created_at` becomes the database's now.

        Returns the upload that there is of this id, if there is. Raises KeyReused when it is of
        another file, AccountGone when the account of its owner was disabled or deleted meanwhile,
        StorageFull where it held no bytes and there are none for it, TooManyRows.
        """
        try:
            return self._add_upload(upload)
        except sa.exc.IntegrityError:
            known = self.upload(upload.id)
        if (known.filename, known.size) != (upload.filename, upload.size):
            raise KeyReused
        return known

    def _add_upload(self, upload: Upload) -> Upload:
        with self.engine.begin() as db:
            alone_with(db, upload.person_id)
            if upload.person_id is not None:
                require_account(db, upload.person_id)
            created_at = db.scalar(sa.select(now())) or 0.0
            row = {
                "id": upload.id,
                "person_id": upload.person_id,
                "filename": upload.filename,
                "size": upload.size,
                "content_type": upload.content_type,
                "key": upload.key,
                "info": upload.info.to_dict(),
                "created_at": created_at,
            }
            db.execute(uploads.insert().values(row))
            require_held(db, upload, self.limits)
            if not db.scalar(sa.select(sa.exists().where(multipart_uploads.c.id == upload.id))):
                require_rows(db, upload.person_id, self.limits)
        return replace(upload, created_at=created_at)

    def upload(self, upload_id: str, of: str | None = None) -> Upload:
        """The upload of this id, of `of` if given. Raises UnknownUpload, UnreadableRow."""
        with self.reading() as db:
            row = db.execute(
                sa.select(uploads).where(uploads.c.id == upload_id, _owned(uploads, of))
            ).one_or_none()
        if row is None:
            raise UnknownUpload(f"There is no upload {upload_id}; it may have expired.")
        return to_upload(row)

    def renew_upload(self, upload: Upload, info: MediaInfo) -> Upload:
        """Keep what was found in an upload by another look."""
        with self.engine.begin() as db:
            own = uploads.c.id == upload.id
            db.execute(uploads.update().where(own).values(info=info.to_dict()))
        return replace(upload, info=info, outdated=False)

    def has_uploads(self) -> bool:
        """Whether there is any upload."""
        with self.reading() as db:
            return bool(db.scalar(sa.select(sa.exists().where(uploads.c.id.is_not(None)))))

    def has_upload(self, key: str) -> bool:
        """Whether the stored file `key` belongs to an upload."""
        return self._has_key(key, uploads)

    def expects(self, key: str) -> bool:
        """Whether what is stored as `key` in UPLOADS_PREFIX belongs to an upload, or a coming one.

        What is made of an object that others have put lies in a folder of its upload's id.
        """
        folder = folder_of(key)
        of_ours = self._has_key(upload_key(folder), uploads, multipart_uploads)
        return of_ours or self.knows_upload(folder)

    def knows_upload(self, upload_id: str) -> bool:
        """Whether there is an upload of this id."""
        with self.reading() as db:
            return bool(db.scalar(sa.select(sa.exists().where(uploads.c.id == upload_id))))

    def _has_key(self, key: str, *tables: sa.Table) -> bool:
        with self.reading() as db:
            return any(
                db.scalar(sa.select(sa.exists().where(table.c.key == key))) for table in tables
            )

    # Jobs

    def add_job(self, job: Job) -> Job:
        """Keep `job` and its steps, all queued and not yet given to a broker.

        Returns the job that there is of this id, if there is. Raises KeyReused when that was
        another request's, UnknownUpload when its upload is deleted, TooManySteps and the like.
        """
        try:
            require_row(self.engine, job.person_id, self.limits)
            return self._add_job(job)
        except (sa.exc.IntegrityError, TooManyRows):
            with self.reading() as db:
                known = load_jobs(db, jobs.c.id == job.id)
            if not known:  # it was no second job: its upload may be gone
                self.upload(job.upload.id)
                raise
        if _wanted(known[0]) != _wanted(job):
            raise KeyReused
        return known[0]

    def _add_job(self, job: Job) -> Job:
        with self.engine.begin() as db:
            alone_with(db, job.person_id)
            created_at = db.scalar(sa.select(now())) or 0.0
            db.execute(
                jobs.insert().values(
                    id=job.id,
                    person_id=job.person_id,
                    upload_id=job.upload.id,
                    state=job.state,
                    created_at=created_at,
                )
            )
            db.execute(steps.insert(), [new_row(step) for step in job.steps])
            require_steps(db, job.person_id, len(job.steps), self.limits.waiting_steps)
            require_some_bytes(db, job.person_id, self.limits)
            require_rows(db, job.person_id, self.limits)
        return replace(job, created_at=created_at)

    def job(self, job_id: str, of: str | None = None) -> Job:
        """The job of this id, where it belongs to `of`, if given. Raises UnknownJob."""
        with self.reading() as db:
            found = load_jobs(db, sa.and_(jobs.c.id == job_id, _owned(jobs, of)))
        if not found:
            raise UnknownJob(f"There is no job {job_id}; it may have expired.")
        return found[0]

    def step(self, step_id: str) -> Step:
        """The step of this id, which may be a part. Raises UnknownJob."""
        with self.reading() as db:
            row = db.execute(sa.select(steps).where(steps.c.id == step_id)).one_or_none()
        if row is None:
            raise UnknownJob(f"There is no step {step_id}; its job may have expired.")
        return shown_step(row)

    def jobs(self, limit: int, before: float | None = None, of: str | None = None) -> list[Job]:
        """The latest jobs, newest first; those created before `before`, and of `of`, when given.

        More than `limit` where several were created in the instant of the last: the next page
        begins after that. Fewer where they have MAX_PAGE_STEPS steps already.
        """
        older = sa.and_(
            _owned(jobs, of), jobs.c.created_at < (LATEST_S if before is None else before)
        )
        of_job = sa.select(sa.func.count()).where(steps.c.job_id == jobs.c.id).scalar_subquery()
        newest = sa.select(jobs.c.created_at, of_job.label("steps")).where(older)
        with self.reading() as db:
            last, left = LATEST_S, MAX_PAGE_STEPS
            for row in db.execute(newest.order_by(jobs.c.created_at.desc()).limit(limit)):
                last, left = row.created_at, left - row.steps
                if left <= 0:
                    break
            return load_jobs(db, sa.and_(older, jobs.c.created_at >= last))

    def cancel(self, job_id: str) -> Job:
        """Cancel the steps that have not ended; their workers find out at the next heartbeat.

        Raises UnknownJob.
        """
        with self.engine.begin() as db:
            its = sa.and_(steps.c.job_id == job_id, steps.c.state.in_(OPEN_STATES))
            if db.execute(steps.update().where(its).values(CANCELLED)).rowcount:
                settle(db, job_id)
        return self.job(job_id)

    # For the workers' main processes

    def fail_running(self, step_id: str, owner: str, error: str) -> bool:
        """Mark a running step as failed whose owner's name starts with `owner`; tell whether."""
        with self.engine.begin() as db:
            failed = db.execute(
                steps.update()
                .where(
                    steps.c.id == step_id,
                    steps.c.state == State.RUNNING,
                    steps.c.owner.startswith(owner, autoescape=True),
                )
                .values(
                    state=State.FAILED,
                    error=error,
                    owner=None,
                    lease_until=None,
                    ended_at=now(),
                )
                .returning(steps.c.job_id)
            ).one_or_none()
            if failed is not None:
                settle(db, failed.job_id)
            return failed is not None

    # Retention

    def expired_jobs(self, days: float, limit: int = 10_000) -> list[str]:
        """Ids of jobs that ended and are older than `days`, or than the days of their person."""
        ended = jobs.c.state.not_in(OPEN_STATES)
        with self.reading() as db:
            return [row.id for row in islice(_older(db, jobs, days, ended), limit)]

    def expired_uploads(self, days: float, limit: int = 10_000) -> list[Upload]:
        """Uploads that no job uses, older than `days`, or than the days of their person."""
        unused = ~sa.select(jobs.c.id).where(jobs.c.upload_id == uploads.c.id).exists()
        with self.reading() as db:
            return [shown_upload(row) for row in islice(_older(db, uploads, days, unused), limit)]


def _older(
    db: sa.Connection, table: sa.Table, days: float, condition: sa.ColumnElement[bool]
) -> Iterator[sa.Row[Any]]:
    """The rows of a table that are older than `days`, or than their person's own days."""
    own = kept_days(db, days)
    age_days = (now() - table.c.created_at) / 86_400.0
    old = table.c.created_at < now() - min([days, *own.values()]) * 86_400.0
    for row in db.execute(sa.select(table, age_days.label("age_days")).where(old, condition)):
        if row.age_days > own.get(row.person_id, days):
            yield row


def _owned(table: sa.Table, of: str | None) -> sa.ColumnElement[bool]:
    """Whether a row belongs to a person; any does to None."""
    return sa.true() if of is None else table.c.person_id == of


def _wanted(job: Job) -> tuple[object, ...]:
    """What a job's request asked for."""
    return (job.upload.id, *((step.name, step.clip, step.spec) for step in job.steps))


def fail_unreadable(db: sa.Connection, failed: Sequence[Step]) -> None:
    """Mark steps as failed whose rows can't be read, and that are shown as that."""
    for step in failed:
        ended = {"state": State.FAILED, "error": step.error, "owner": None, "lease_until": None}
        db.execute(steps.update().where(steps.c.id == step.id).values(**ended, ended_at=now()))
        settle(db, step.job_id)


def settle(db: sa.Connection, job_id: str) -> None:
    """Set a job's state by its steps', in the transaction that changed one of them.

    One that has ended by it is told of, to those who want it.
    """
    # Two steps that end at once must see each other: the second waits here for the first.
    own = sa.select(jobs.c.finished_at).where(jobs.c.id == job_id)
    before = db.execute(own.with_for_update()).one_or_none()
    rows = db.execute(
        sa.select(steps.c.state, steps.c.error)
        .where(steps.c.job_id == job_id, steps.c.parent_id.is_(None))
        .order_by(steps.c.position)
    ).all()
    state = job_state([read_state(row.state) for row in rows])
    values: dict[str, Any] = {"state": state}
    if state is not State.QUEUED:
        values["started_at"] = sa.func.coalesce(jobs.c.started_at, now())
    if state.final:
        values["finished_at"] = sa.func.coalesce(jobs.c.finished_at, now())
        values["error"] = next((row.error for row in rows if row.error), None)
    db.execute(jobs.update().where(jobs.c.id == job_id).values(values))
    if state.final and before is not None and before.finished_at is None:
        announce(db, job_id)
