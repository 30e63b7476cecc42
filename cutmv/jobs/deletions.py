"""What is to be deleted for good, and what of it is still to be: whoever dies leaves it to another.

The rows of a job or an upload go in one transaction, which notes what the storage has of it. From
then on nobody finds it, and a worker that runs a step of it stops at its next heartbeat. Then what
was noted is deleted, by the request or by a janitor. The note stays for a while, since somebody may
have been about to store something: what comes late is deleted too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs.keys import is_ours, job_prefix, step_prefix, upload_prefix
from cutmv.jobs.model import UnknownJob, UnknownUpload
from cutmv.jobs.rows import WRONG
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import deletions, jobs, multipart_uploads, reservations, steps, uploads

#: Seconds after which nobody stores anything more of what was deleted: longer than any step runs.
KEPT_S = 86_400.0
#: Deletions that one look finds; the next finds others.
MOST = 100


@dataclass(frozen=True)
class Deletion:
    """What is to be deleted beside the rows that are gone: objects, and results of Celery's."""

    id: str
    prefixes: tuple[str, ...]
    #: The keys of uploaded videos, of which caches may keep something.
    sources: tuple[str, ...] = ()
    #: The tasks that may have a result.
    results: tuple[str, ...] = ()
    #: The key of an object that others have put, if that is to be deleted and nobody has yet. What
    #: has replaced it is not, nor is anything of an upload that is there again, of the same file.
    object: str = ""


class Deletions:
    """Deletes from a job store. All methods raise SQLAlchemyError when it fails."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def job(self, job_id: str) -> Deletion:
        """Delete a job and its steps, whether or not they run. Raises UnknownJob."""
        with self._store.engine.begin() as db:
            own = self._lock(db, jobs, job_id)
            if own is None:
                raise UnknownJob(f"There is no job {job_id}; it may have expired.")
            prefixes, results = self._of_jobs(db, [job_id])
            return self._note(db, own.person_id, Deletion(job_id, prefixes, results=results))

    def upload(
        self, upload_id: str, *, if_unused: bool = False, keeps_object: bool = False
    ) -> Deletion:
        """Delete an upload, and all jobs that were made of it.

        An object that others have put is deleted too, unless told otherwise. Raises UnknownUpload,
        also with `if_unused` where there are jobs.
        """
        with self._store.engine.begin() as db:
            # Who is about to add a job of it waits here, and then finds no upload.
            own = self._lock(db, uploads, upload_id)
            if own is None:
                raise UnknownUpload(f"There is no upload {upload_id}; it may have expired.")
            of_upload = sa.select(jobs.c.id).where(jobs.c.upload_id == upload_id)
            job_ids = list(db.scalars(of_upload))
            if job_ids and if_unused:
                raise UnknownUpload(f"The upload {upload_id} is used.")
            prefixes, results = self._of_jobs(db, job_ids)
            key = db.scalar(
                sa.delete(uploads).where(uploads.c.id == upload_id).returning(uploads.c.key)
            )
            if not isinstance(key, str) or not key:  # a row that can't be read
                gone = Deletion(upload_id, prefixes, results=results)
                return self._note(db, own.person_id, gone)
            prefixes = (*prefixes, upload_prefix(upload_id, key))
            of_others = "" if is_ours(key) or keeps_object else key
            gone = Deletion(upload_id, prefixes, (key,), results, of_others)
            return self._note(db, own.person_id, gone)

    def output(self, job_id: str, name: str) -> Deletion:
        """Delete what a step has made; the step stays. Raises UnknownJob where there is none."""
        with self._store.engine.begin() as db:
            made = sa.and_(
                steps.c.job_id == job_id,
                steps.c.name == name,
                steps.c.parent_id.is_(None),
                steps.c.output_key.is_not(None),
            )
            told = [f"output_{name}" for name in ("key", "size", "type", "made", "crc32")]
            gone = steps.update().where(made).values(dict.fromkeys(told))
            step_id = db.scalar(gone.returning(steps.c.id))
            if step_id is None:
                raise UnknownJob(f"The job has made no output named {name!r}.")
            whose = db.scalar(sa.select(jobs.c.person_id).where(jobs.c.id == job_id))
            made_by = Deletion(step_id, (step_prefix(job_id, step_id),), results=(step_id,))
            return self._note(db, whose, made_by)

    def of_person(self, person_id: str) -> tuple[list[str], list[str]]:
        """The ids of a person's uploads, and of their jobs."""
        with self._store.reading() as db:
            found = [
                list(db.scalars(sa.select(table.c.id).where(table.c.person_id == person_id)))
                for table in (uploads, jobs)
            ]
        return found[0], found[1]

    def rest_of_person(self, person_id: str) -> None:
        """Delete the rows that tell of a person who has no upload and no job any more."""
        with self._store.engine.begin() as db:
            for table in (multipart_uploads, reservations):
                db.execute(table.delete().where(table.c.person_id == person_id))
            own = deletions.c.person_id == person_id
            db.execute(deletions.update().where(own).values(person_id=None))

    def knows(self, deleted_id: str) -> bool:
        """Whether a job or an upload of this id was deleted, a day ago at most."""
        with self._store.reading() as db:
            return bool(db.scalar(sa.select(sa.exists().where(deletions.c.id == deleted_id))))

    def is_pending(self, deleted_id: str) -> bool:
        """Whether something is left of what was deleted."""
        own = sa.and_(deletions.c.id == deleted_id, deletions.c.done_at.is_(None))
        with self._store.reading() as db:
            return bool(db.scalar(sa.select(sa.exists().where(own))))

    def pending(self) -> list[Deletion]:
        """Those that nobody has finished."""
        return self._found(deletions.c.done_at.is_(None))

    def recent(self) -> Iterator[Deletion]:
        """All, of which somebody may have stored something late."""
        yield from self._found(sa.true(), limit=None)

    def done(self, deletion: Deletion) -> None:
        """Note that a deletion is finished; of its results none is looked for again."""
        what = _to_json(replace(deletion, results=()))
        with self._store.engine.begin() as db:
            own = deletions.c.id == deletion.id
            db.execute(deletions.update().where(own).values(what=what, done_at=now()))

    def forget(self) -> None:
        """Delete the notes of which nobody can store anything any more."""
        with self._store.engine.begin() as db:
            old = deletions.c.deleted_at < now() - KEPT_S
            db.execute(deletions.delete().where(old, deletions.c.done_at.is_not(None)))

    @staticmethod
    def _lock(db: sa.Connection, table: sa.Table, row_id: str) -> sa.Row[Any] | None:
        row = sa.select(table.c.person_id).where(table.c.id == row_id).with_for_update()
        return db.execute(row).one_or_none()

    @staticmethod
    def _of_jobs(db: sa.Connection, ids: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Delete the rows of jobs; returns the prefixes of their objects, and their tasks' ids."""
        of_jobs = steps.delete().where(steps.c.job_id.in_(ids)).returning(steps.c.id)
        # One whose id is no text, in a damaged row, has no task.
        step_ids = tuple(each for each in db.scalars(of_jobs) if isinstance(each, str))
        db.execute(jobs.delete().where(jobs.c.id.in_(ids)))
        return tuple(job_prefix(each) for each in ids), step_ids

    @staticmethod
    def _note(db: sa.Connection, person_id: str | None, deletion: Deletion) -> Deletion:
        db.execute(deletions.delete().where(deletions.c.id == deletion.id))
        row = {"id": deletion.id, "person_id": person_id, "what": _to_json(deletion)}
        db.execute(deletions.insert().values(row | {"deleted_at": now()}))
        return deletion

    def _found(self, condition: sa.ColumnElement[bool], limit: int | None = MOST) -> list[Deletion]:
        oldest = sa.select(deletions).where(condition).order_by(deletions.c.deleted_at)
        with self._store.reading() as db:
            rows = db.execute(oldest.limit(limit)).all()
        return [_to_deletion(row) for row in rows]


def _to_json(deletion: Deletion) -> dict[str, Any]:
    """What a row says of a Deletion."""
    return {
        "prefixes": deletion.prefixes,
        "sources": deletion.sources,
        "results": deletion.results,
        "object": deletion.object,
    }


def _to_deletion(row: sa.Row[Any]) -> Deletion:
    """A row as a Deletion; one that can't be read is taken for that of a job."""
    try:
        prefixes, sources, results = (
            tuple(row.what[name]) for name in ("prefixes", "sources", "results")
        )
    except WRONG:
        return Deletion(row.id, (job_prefix(row.id),))
    of_others = str(row.what.get("object", "")) if row.done_at is None else ""
    return Deletion(row.id, prefixes, sources, results, of_others)
