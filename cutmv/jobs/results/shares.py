"""Shares: links by which anybody gets what a job has made, or one output, until they end.

A link has a token that nobody can guess, told once and kept as a hash, as sessions and keys are. It
ends at its time, when its owner ends it, with its job, and for as long as the owner's account is
disabled.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cutmv.database import now, readable, unreadable
from cutmv.jobs.model import Job, Step, UnknownJob, new_id
from cutmv.jobs.quotas import require_rows
from cutmv.jobs.rows import load_jobs
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import jobs, shares
from cutmv.people import is_enabled, new_token, token_hash

#: Days for which a share is good where nobody says, and at most.
SHARE_DAYS, MAX_SHARE_DAYS = 7, 365
#: Shares of one job that are good at once.
MAX_SHARES = 50
#: What the hash of a token is for.
PURPOSE = "share"


class UnknownShare(Exception):
    """There is no such share, or no longer; one line for people."""

    def __init__(self) -> None:
        super().__init__("This link shows nothing any more: it has ended, or what it showed has.")


class TooManyShares(Exception):
    """A job has as many shares as it may; one line for people."""

    def __init__(self) -> None:
        super().__init__(f"The job has {MAX_SHARES} links already: end one of them first.")


@dataclass(frozen=True)
class Share:
    """A share of all outputs of a job, or of the one named `output`; times since 1970."""

    id: str
    job_id: str
    output: str | None
    created_at: float
    expires_at: float


@dataclass(frozen=True)
class Shared:
    """What a share shows: the steps whose outputs it is of, of its job."""

    share: Share
    job: Job

    @property
    def steps(self) -> list[Step]:
        """The steps that are shared and have an output."""
        name = self.share.output
        return [
            step for step in self.job.steps if step.output and (name is None or step.name == name)
        ]

    def step(self, name: str) -> Step:
        """The step of an output of this name. Raises UnknownShare."""
        found = next((step for step in self.steps if step.name == name), None)
        if found is None:
            raise UnknownShare
        return found


class Shares:
    """The shares of a job store. All methods raise SQLAlchemyError when it fails."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def add(self, job: Job, output: str | None, days: int) -> tuple[Share, str]:
        """A new share of a job, and its token; those that ended are forgotten.

        Raises UnknownJob where the job, or an output of this name, is not there; TooManyShares,
        TooManyRows.
        """
        if output is not None and not any(
            step.output and step.name == output for step in job.steps
        ):
            raise UnknownJob(f"The job has made no output named {output!r}.")
        token, share_id = new_token(), new_id()
        with self._store.engine.begin() as db:
            own = sa.select(jobs.c.id).where(jobs.c.id == job.id).with_for_update()
            if db.scalar(own) is None:
                raise UnknownJob(f"There is no job {job.id}; it may have expired.")
            db.execute(shares.delete().where(shares.c.expires_at <= now()))
            of_job = sa.select(sa.func.count()).where(shares.c.job_id == job.id)
            if (db.scalar(of_job) or 0) >= MAX_SHARES:
                raise TooManyShares
            row = db.execute(
                shares.insert()
                .values(
                    id=share_id,
                    job_id=job.id,
                    output=output,
                    hash=token_hash(PURPOSE, token),
                    created_at=now(),
                    expires_at=now() + days * 86_400.0,
                )
                .returning(shares)
            ).one()
            require_rows(db, job.person_id, self._store.limits)
        return _to_share(row), token

    def of(self, job_id: str) -> list[Share]:
        """The shares of a job that are good, the newest first."""
        good = sa.and_(shares.c.job_id == job_id, shares.c.expires_at > now())
        with self._store.reading() as db:
            found = db.execute(
                sa.select(shares).where(good).order_by(shares.c.created_at.desc(), shares.c.id)
            )
            return [_to_share(row) for row in found]

    def end(self, job_id: str, share_id: str) -> None:
        """End a share of a job. Raises UnknownShare."""
        own = sa.and_(shares.c.job_id == job_id, shares.c.id == share_id)
        with self._store.engine.begin() as db:
            if not db.execute(shares.delete().where(own)).rowcount:
                raise UnknownShare

    def shown(self, token: str) -> Shared:
        """What the link of a token shows. Raises UnknownShare where it is good no more."""
        good = sa.and_(shares.c.hash == token_hash(PURPOSE, token), shares.c.expires_at > now())
        with self._store.reading() as db:
            row = db.execute(sa.select(shares).where(good)).one_or_none()
            if row is None:
                raise UnknownShare
            found = load_jobs(db, jobs.c.id == row.job_id)
            if not found or not is_enabled(db, found[0].person_id):
                raise UnknownShare
        shown = Shared(_to_share(row), found[0])
        is_to_come = shown.share.output is None and not shown.job.state.final
        if not shown.steps and not is_to_come:
            raise UnknownShare
        return shown


def _to_share(row: sa.Row[Any]) -> Share:
    """A row of the shares; what of it can't be read is left out."""
    told = readable(row, unreadable(shares, row))
    return Share(
        id=str(row.id),
        job_id=row.job_id,
        output=None if row.output is None else str(row.output),  # not all of them
        created_at=told["created_at"] or 0.0,
        expires_at=told["expires_at"] or 0.0,
    )
