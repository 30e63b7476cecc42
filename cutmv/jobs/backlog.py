"""The backlog: the steps that wait, why they do, and which of them nobody is going to bring.

A step waits for its turn at a worker, or for what its stage names. A broker can lose a message, and
nobody can tell a message that is lost from one that waits behind others. So when a step's turn has
come and still no worker has claimed it, it is sent once more: a second message does no harm, since
the claim lets one of them run. Turns come in the order in which jobs were made; of each client only
so many steps are sent ahead (`Limits.steps_ahead`), so that clients take turns, and none of a job
that is held since its person has as many as may run at once (`held_jobs`).

Most often no worker runs, or all have work, and the message still waits: so it is sent ever more
rarely. Two kinds of steps are found within a minute all the same: those that were overtaken, since
a worker has claimed a step whose message is newer, and of the others the first. If its new message
is claimed, all others were overtaken. That is a message in 40 seconds while nobody takes any, and
TURNS while somebody does.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa

from cutmv.database import LATEST_S, now
from cutmv.jobs.model import (
    WAITS_FOR_OTHERS,
    WAITS_FOR_ROOM,
    WAITS_FOR_STORAGE,
    WAITS_TO_RETRY,
    State,
    Step,
)
from cutmv.jobs.quotas import client, held_jobs
from cutmv.jobs.rows import shown_step
from cutmv.jobs.store import JobStore, fail_unreadable, settle
from cutmv.jobs.tables import jobs, steps, uploads

#: Steps that the janitor sends in one pass; the next takes more.
MAX_SENT = 100
#: Steps whose turn it is, at most. So a backlog of thousands costs no second message for each.
TURNS = 20
#: Seconds after which a step whose turn it is counts as lost by its broker. They double for each
#: further message; once for the first step, and for those that were overtaken.
LOST_AFTER_S = 20.0
#: Doublings at most: each step whose turn it is is sent again after five minutes.
MAX_RESENDS = 4
#: Seconds for which a claim tells that older messages were overtaken.
OVERTAKEN_WITHIN_S = 600.0
#: Seconds without a reason to wait, and with no step running, after which a step is stranded.
STRANDED_AFTER_S = 60.0
#: Seconds of waiting for the database that tell that others waited for it too.
DATABASE_SLOW_S = 2.0
#: Why a step waits, by its stage: few names, as a metric's label needs. All others wait for TURN.
REASONS = {WAITS_FOR_STORAGE: "storage", WAITS_FOR_ROOM: "room", WAITS_TO_RETRY: "retry"}
TURN = "turn"

claimed = steps.alias("claimed")
_is_busy = sa.or_(
    steps.c.state == State.RUNNING,
    sa.and_(steps.c.state == State.QUEUED, steps.c.enqueued_at.is_not(None)),
)
_is_unsent = sa.and_(steps.c.state == State.QUEUED, steps.c.enqueued_at.is_(None))
_waits_since = sa.func.coalesce(steps.c.queued_at, jobs.c.created_at)


@dataclass(frozen=True)
class Waiting:
    """How many steps wait for one reason, and the seconds that the oldest has."""

    count: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True)
class Report:
    """Who waits, by the reason; and how many are stranded: without a reason, and nothing runs."""

    waiting: dict[str, Waiting]
    stranded: int


class Backlog:
    """The waiting steps of a job store. All methods raise SQLAlchemyError when it fails."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def sent(self, step_ids: Sequence[str], route: str) -> None:
        """Note the route by which steps were sent; a broker has them unless it is `eager`."""
        again = sa.case(
            (steps.c.enqueued_at.is_(None), 0),
            (steps.c.resends < MAX_RESENDS, steps.c.resends + 1),
            else_=MAX_RESENDS,
        )
        values = (
            {"enqueued_at": None, "resends": 0}
            if route == "eager"
            else {"enqueued_at": now(), "resends": again}
        )
        # One that was held is no more.
        stage = sa.case((steps.c.stage == WAITS_FOR_OTHERS, None), else_=steps.c.stage)
        with self._store.engine.begin() as db:
            of_job = sa.select(steps.c.job_id).where(steps.c.id.in_(step_ids))
            # A worker may have been faster than we are, and even given the step back.
            queued = sa.and_(steps.c.id.in_(step_ids), steps.c.state == State.QUEUED)
            db.execute(steps.update().where(queued).values(stage=stage, **values))
            db.execute(jobs.update().where(jobs.c.id.in_(of_job)).values(route=route))

    def hold(self, job_id: str, route: str) -> bool:
        """Whether a job waits since its person has as many as may run at once.

        That is noted, by the route that it would go now: a janitor sends it once it is its turn.
        """
        with self._store.engine.begin() as db:
            held = sa.and_(jobs.c.id == job_id, jobs.c.id.in_(self._held(db)))
            if not db.execute(jobs.update().where(held).values(route=route)).rowcount:
                return False
            its = sa.and_(steps.c.job_id == job_id, steps.c.state == State.QUEUED)
            db.execute(steps.update().where(its).values(stage=WAITS_FOR_OTHERS))
            return True

    def to_send(self, min_age_s: float, lost_after_s: float = LOST_AFTER_S) -> list[Step]:
        """Steps that no broker may be going to deliver, the oldest job's first, MAX_SENT at most.

        Those are steps whose message no broker took, as far as their client may have more with
        one, and those whose turn it is and that nobody has claimed `lost_after_s` seconds after
        their message was due. Steps of jobs younger than `min_age_s` seconds are left to the
        request that made the job, until it has sent some.
        """
        turn = self._queued(steps.c.enqueued_at <= now()).with_only_columns(steps.c.id)
        waited = now() - steps.c.enqueued_at
        taken = sa.select(sa.func.max(claimed.c.enqueued_at)).where(
            claimed.c.claimed_at > now() - OVERTAKEN_WITHIN_S,
            claimed.c.claimed_at >= claimed.c.enqueued_at,
        )
        soon = sa.or_(steps.c.enqueued_at < taken.scalar_subquery(), steps.c.id.in_(turn.limit(1)))
        late = sa.or_(
            waited > lost_after_s * sa.literal(1).op("<<")(steps.c.resends),
            sa.and_(soon, waited > 2 * lost_after_s),
        )
        lost = sa.and_(steps.c.id.in_(turn.limit(TURNS)), late)
        found = self._steps(sa.and_(lost, _older(min_age_s)))
        with self._store.reading() as db:
            following = self._next(min_age_s, self._held(db))
        return found + self._steps(sa.and_(following, _older(0.0)))

    def _held(self, db: sa.Connection) -> sa.Select[tuple[str]]:
        return held_jobs(db, self._store.limits.jobs)

    def room(self, job_id: str) -> int:
        """How many more steps the client of a job may have with a broker, or running."""
        with self._store.reading() as db:
            whose = db.scalar(sa.select(client).where(jobs.c.id == job_id))
            busy = sa.select(sa.func.count()).select_from(steps.join(jobs))
            found = db.scalar(busy.where(_is_busy, client == whose)) or 0
            return max(0, self._store.limits.steps_ahead - found)

    def _next(self, min_age_s: float, held: sa.Select[tuple[str]]) -> sa.ColumnElement[bool]:
        """The first unsent steps of each client, as many as its turns allow."""
        order = (jobs.c.created_at, steps.c.job_id, steps.c.position, steps.c.id)
        unsent = (
            sa.select(
                steps.c.id,
                client.label("client"),
                sa.func.row_number().over(partition_by=client, order_by=order).label("rank"),
            )
            .join(jobs)
            .where(_is_unsent, _sendable(min_age_s), jobs.c.id.not_in(held))
            .subquery()
        )
        busy = (
            sa.select(client.label("client"), sa.func.count().label("steps"))
            .select_from(steps.join(jobs))
            .where(_is_busy)
            .group_by(client)
            .subquery()
        )
        room = self._store.limits.steps_ahead - sa.func.coalesce(busy.c.steps, 0)
        return steps.c.id.in_(
            sa.select(unsent.c.id)
            .select_from(unsent.outerjoin(busy, unsent.c.client == busy.c.client))
            .where(unsent.c.rank <= room)
            .order_by(unsent.c.rank)
            .limit(MAX_SENT)
        )

    def waiting(
        self, min_age_s: float, but: Callable[[str], bool] = lambda _step_id: False
    ) -> list[Step]:
        """Queued steps that are not held, whether or not a broker has their message.

        Order and limit are as above. Those are left out for whose id `but` is true.
        """
        with self._store.reading() as db:
            own = sa.and_(_is_unsent, _sendable(min_age_s))
            due = sa.and_(sa.or_(own, _older(min_age_s)), jobs.c.id.not_in(self._held(db)))
            found = db.scalars(self._queued(due).with_only_columns(steps.c.id))
            # One that is no text, in a damaged row, nobody can name.
            named = (step_id for step_id in found if isinstance(step_id, str))
            ids = list(islice((step_id for step_id in named if not but(step_id)), MAX_SENT))
        return self._steps(steps.c.id.in_(ids))

    def mend(self) -> list[str]:
        """End the steps and jobs whose state is none; returns the ids of the jobs.

        What was made at no time that is one was made now. So all of them expire.
        """
        with self._store.reading() as db:
            strange = steps.c.state.not_in([*State])
            bad = [shown_step(row) for row in db.execute(sa.select(steps).where(strange))]
            odd_job = jobs.c.state.not_in([*State])
            found = [*db.scalars(sa.select(jobs.c.id).where(odd_job))]
            untimed = [
                each for each in (jobs, uploads) if db.execute(_untimed(each).limit(1)).first()
            ]
        if not (bad or found or untimed):
            return []
        with self._store.engine.begin() as db:
            fail_unreadable(db, bad)
            for job_id in found:
                settle(db, job_id)
            for table in untimed:
                ids = _untimed(table)
                db.execute(table.update().where(table.c.id.in_(ids)).values(created_at=now()))
        return sorted({*found, *(step.job_id for step in bad)})

    def has_enqueued(self) -> bool:
        """Whether a broker has the message of a step that nobody runs yet."""
        with self._store.reading() as db:
            enqueued = sa.and_(steps.c.state == State.QUEUED, steps.c.enqueued_at.is_not(None))
            return bool(db.scalar(sa.select(sa.exists().where(enqueued))))

    def reclaim(self) -> list[str]:
        """Queue again the running steps whose lease has run out; returns their ids.

        None where the database kept us waiting: their owners could not renew their leases either,
        and do now.
        """
        asked = time.monotonic()
        with self._store.engine.begin() as db:
            if time.monotonic() - asked > DATABASE_SLOW_S:
                return []
            lost = db.execute(
                steps.update()
                .where(
                    steps.c.state == State.RUNNING,
                    sa.or_(
                        steps.c.lease_until < now(),
                        # Nobody leaves it so; it would run for ever.
                        sa.and_(steps.c.lease_until.is_(None), steps.c.owner.is_not(None)),
                    ),
                )
                .values(
                    state=State.QUEUED,
                    stage=None,
                    owner=None,
                    lease_until=None,
                    enqueued_at=None,
                    queued_at=now(),
                )
                .returning(steps.c.id, steps.c.job_id)
            ).all()
            for job_id in sorted({row.job_id for row in lost}):
                settle(db, job_id)
            return [row.id for row in lost]

    def report(self) -> Report:
        """Who waits now, and for what."""
        with self._store.reading() as db:
            return report(db)

    def _steps(self, condition: sa.ColumnElement[bool]) -> list[Step]:
        with self._store.reading() as db:
            rows = db.execute(self._queued(condition).limit(MAX_SENT))
            found = [shown_step(row) for row in rows]
        # Those whose row can't be read would come first again and again.
        if failed := [step for step in found if step.state is State.FAILED]:
            with self._store.engine.begin() as db:
                fail_unreadable(db, failed)
        return [step for step in found if step.state is State.QUEUED]

    @staticmethod
    def _queued(condition: sa.ColumnElement[bool]) -> sa.Select[tuple[object, ...]]:
        return (
            sa.select(steps)
            .join(jobs)
            .where(steps.c.state == State.QUEUED, condition)
            .order_by(jobs.c.created_at, steps.c.job_id, steps.c.position, steps.c.id)
        )


def _older(age_s: float) -> sa.ColumnElement[bool]:
    return jobs.c.created_at < now() - age_s


def _sendable(min_age_s: float) -> sa.ColumnElement[bool]:
    """Whether the request that made a job has sent what it sends of it, or has had the time."""
    return sa.or_(_older(min_age_s), jobs.c.route.is_not(None))


def _untimed(table: sa.Table) -> sa.Select[tuple[str]]:
    # Of SQLite's values text is more than any number, and of PostgreSQL's NaN is.
    return sa.select(table.c.id).where(table.c.created_at >= LATEST_S)


def report(db: sa.Connection) -> Report:
    """What `Backlog.report` tells, by a connection of the caller's own."""
    queued = steps.c.state == State.QUEUED
    # A worker that waits for a neighbour keeps its step for a while.
    held = sa.and_(steps.c.state == State.RUNNING, steps.c.stage.in_(REASONS))
    reason = sa.case(REASONS, value=steps.c.stage, else_=TURN)
    age_s = now() - _waits_since
    # A step whose parts are being made is run by nobody.
    owned = sa.and_(steps.c.state == State.RUNNING, steps.c.owner.is_not(None))
    runs = sa.exists().where(owned).correlate(None)
    rows = db.execute(
        sa.select(reason, sa.func.count(), sa.func.max(age_s))
        .select_from(steps.join(jobs))
        .where(sa.or_(queued, held))
        .group_by(reason)
    ).all()
    stranded = db.scalar(
        sa.select(sa.func.count())
        .select_from(steps.join(jobs))
        .where(queued, reason == TURN, age_s > STRANDED_AFTER_S, ~runs)
    )
    waiting = {why: Waiting() for why in (TURN, *REASONS.values())}
    waiting |= {why: Waiting(count, oldest_s or 0.0) for why, count, oldest_s in rows}
    return Report(waiting, stranded or 0)
