"""What operators see of everybody's jobs."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cutmv.database import now, total
from cutmv.jobs.backlog import Report, report
from cutmv.jobs.model import State, Step
from cutmv.jobs.rows import shown_step
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import derivatives, jobs, steps, uploads, whole

#: Seconds in which the steps are counted that begin and end, for a rate.
RATE_S = 300.0
#: Steps of each kind that are told of, and people.
MOST = 50


@dataclass(frozen=True)
class LiveStep:
    """A step that `owner` runs, for `ran_s` seconds."""

    step: Step
    owner: str
    ran_s: float

    @property
    def worker(self) -> str:
        """The name of the worker that runs it."""
        return self.owner.partition("/")[0]


@dataclass(frozen=True)
class FailedStep:
    """A step that failed `ago_s` seconds ago, with its traceback; None where that is not known."""

    step: Step
    ago_s: float | None
    traceback: str | None


@dataclass(frozen=True)
class Holding:
    """The bytes that a person has stored; None is nobody who has signed in."""

    person_id: str | None
    bytes: int


@dataclass(frozen=True)
class JobsSeen:
    """All jobs at one moment.

    `counts` are by ("job" or "step", state), `begun` and `ended` are steps of the last RATE_S
    seconds, and `stored` are bytes. Of `live`, `failed` and `holdings` there are MOST at most:
    those that run longest, that failed last, and that hold most.
    """

    counts: dict[tuple[str, str], int]
    waiting: Report
    begun: int
    ended: int
    stored: dict[str, int]
    live: Sequence[LiveStep]
    failed: Sequence[FailedStep]
    holdings: Sequence[Holding]


def look(store: JobStore) -> JobsSeen:
    """All jobs as they are now. Raises SQLAlchemyError when the store fails."""
    with store.reading() as db:
        return JobsSeen(
            _counts(db),
            report(db),
            _count(db, steps.c.claimed_at > now() - RATE_S),
            _count(db, steps.c.ended_at > now() - RATE_S),
            _stored(db),
            _live(db),
            _failed(db),
            _holdings(db),
        )


def _counts(db: sa.Connection) -> dict[tuple[str, str], int]:
    """How many jobs and steps there are, by ("job" or "step", state)."""
    return {
        (kind, state): count
        for kind, table, own in (("job", jobs, sa.true()), ("step", steps, whole))
        for state, count in db.execute(
            sa.select(table.c.state, sa.func.count()).where(own).group_by(table.c.state)
        )
    }


def _count(db: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    return db.scalar(sa.select(sa.func.count()).select_from(steps).where(condition)) or 0


def _stored(db: sa.Connection) -> dict[str, int]:
    """The bytes of all uploads, of what was made of them, and of all outputs."""
    sums = {
        "uploads": sa.select(total(uploads.c.size)),
        "derivatives": sa.select(total(derivatives.c.bytes)),
        "outputs": sa.select(total(steps.c.output_size)).where(whole),
    }
    return {kind: int(db.scalar(each) or 0) for kind, each in sums.items()}


def _live(db: sa.Connection) -> list[LiveStep]:
    owned = sa.and_(steps.c.state == State.RUNNING, steps.c.owner.is_not(None))
    ran_s = (now() - steps.c.claimed_at).label("ran_s")
    oldest = sa.select(steps, ran_s).where(owned).order_by(steps.c.claimed_at).limit(MOST)
    return [
        LiveStep(
            shown_step(row), row.owner if isinstance(row.owner, str) else "?", row.ran_s or 0.0
        )
        for row in db.execute(oldest)
    ]


def _failed(db: sa.Connection) -> list[FailedStep]:
    ago_s = (now() - steps.c.ended_at).label("ago_s")
    latest = (
        sa.select(steps, ago_s)
        .where(steps.c.state == State.FAILED, whole)
        .order_by(steps.c.ended_at.desc().nulls_last())
        .limit(MOST)
    )
    return [
        FailedStep(shown_step(row), row.ago_s, row.traceback if row.traceback else None)
        for row in db.execute(latest)
    ]


def _holdings(db: sa.Connection) -> list[Holding]:
    sent = sa.select(uploads.c.person_id, uploads.c.size.label("bytes"))
    made = sa.select(jobs.c.person_id, steps.c.output_size).select_from(jobs.join(steps))
    derived = sa.select(uploads.c.person_id, derivatives.c.bytes)
    each = sa.union_all(
        sent,
        derived.select_from(derivatives.join(uploads)),
        made.where(whole, steps.c.output_size.is_not(None)),
    ).subquery()
    held = total(each.c.bytes)
    largest = sa.select(each.c.person_id, held).group_by(each.c.person_id).order_by(held.desc())
    return [Holding(whose, int(size or 0)) for whose, size in db.execute(largest.limit(MOST))]
