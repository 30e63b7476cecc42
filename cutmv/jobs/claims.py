"""Claims: a step has one owner at a time, who runs it and renews the claim by heartbeats.

A broker delivers at least once, so several workers may receive the same step, or one may receive it
twice. Each claims the step here first. When a process dies

- before `claim`, nothing has happened; the broker, or the janitor, brings the step again
- between `claim` and `finish`, the lease runs out, and the next worker that claims it gets it
- between storing the output and `finish`, the next worker finds the output and only finishes
- after `finish`, the message comes again, and `claim` answers that the step has ended
"""

from dataclasses import dataclass

import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs.model import (
    WAITS_FOR_ROOM,
    WAITS_FOR_STORAGE,
    Output,
    State,
    Step,
    UnknownJob,
    UnreadableRow,
)
from cutmv.jobs.rows import shown_step, to_step
from cutmv.jobs.store import JobStore, fail_unreadable, settle
from cutmv.jobs.tables import steps
from cutmv.media import Progress

#: Seconds without a heartbeat after which another may claim the step. Heartbeats come several times
#: a second, so this bounds a stall of the database or the host, not the work.
LEASE_S = 20.0
#: Times that a step is started before it is given up: it may be what kills its workers.
MAX_ATTEMPTS = 10


@dataclass(frozen=True)
class Claimed:
    """The caller owns the step now: it must send heartbeats, then finish, fail or release it."""

    step: Step


@dataclass(frozen=True)
class Busy:
    """Another owner has the step; its lease ends in `remaining_s` seconds unless it is renewed."""

    remaining_s: float


@dataclass(frozen=True)
class Ended:
    """There is nothing to do: the step is in a final state, or its parts are being made."""

    step: Step


class Claims:
    """Claims of one owner in a job store, which last `lease_s` seconds from each heartbeat.

    `owner` names one run of one step: two deliveries to one process are two owners. All methods
    raise SQLAlchemyError when the database fails.
    """

    def __init__(self, store: JobStore, owner: str, lease_s: float = LEASE_S) -> None:
        self.store, self.owner, self.lease_s = store, owner, lease_s

    def claim(self, step_id: str, route: str) -> Claimed | Busy | Ended:
        """Claim a step. `route` is the mode by which it came here. Raises UnknownJob.

        A step whose row can't be read has failed by that.
        """
        with self.store.engine.begin() as db:
            row = db.execute(
                sa.select(steps, now().label("now")).where(steps.c.id == step_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise UnknownJob(f"There is no step {step_id}; its job may have expired.")
            try:
                step = to_step(row)
            except UnreadableRow:
                failed = shown_step(row)
                fail_unreadable(db, [failed])
                return Ended(failed)
            if step.state.final:
                return Ended(step)
            if step.state is State.RUNNING and row.owner is None:
                return Ended(step)
            if step.state is State.RUNNING and row.owner == self.owner:
                return Claimed(step)  # the answer to our first call was lost
            if step.state is State.RUNNING and (row.lease_until or 0.0) > row.now:
                return Busy(row.lease_until - row.now)
            if step.attempts >= MAX_ATTEMPTS:
                error = f"Given up after {MAX_ATTEMPTS} starts: each ended without an answer."
                values: dict[str, object] = {"state": State.FAILED, "error": error, "owner": None}
                values["ended_at"] = now()
            else:
                values = {
                    "state": State.RUNNING,
                    "owner": self.owner,
                    "lease_until": now() + self.lease_s,
                    "claimed_at": now(),
                    "attempts": step.attempts + 1,
                    "route": route,
                    "stage": None,
                    "error": None,
                }
            changed = db.execute(
                steps.update().where(steps.c.id == step_id).values(values).returning(steps)
            ).one()
            settle(db, step.job_id)
        step = to_step(changed)
        return Ended(step) if step.state.final else Claimed(step)

    def beat(self, step: Step, stage: str, progress: Progress) -> bool:
        """Renew the lease and note the progress; False when the step is no longer ours.

        The percent of a step never goes back.
        """
        percent = progress.percent
        farther = sa.case((steps.c.percent < percent, percent), else_=steps.c.percent)
        return self._change(
            step,
            settled=False,
            lease_until=now() + self.lease_s,
            stage=stage,
            percent=farther,
            fps=progress.fps,
            speed=progress.speed,
            eta_s=progress.eta_s,
            out_time_s=progress.out_time_s,
        )

    def finish(self, step: Step, output: Output) -> bool:
        """Mark a step as done, whose output is stored; False when it is no longer ours."""
        return self._end(
            step,
            state=State.DONE,
            ended_at=now(),
            percent=100.0,
            output_key=output.key,
            output_size=output.size,
            output_type=output.content_type,
            output_made=output.made and output.made.to_dict(),
            output_crc32=output.crc32,
        )

    def fail(self, step: Step, error: str, traceback: str | None = None) -> bool:
        """Mark a step as failed; False when it is not ours.

        `error` is one line for people, `traceback` tells operators where it failed.
        """
        return self._end(step, state=State.FAILED, error=error, traceback=traceback, ended_at=now())

    def release(
        self, step: Step, *, failed: bool, stage: str | None = None, due_s: float | None = None
    ) -> bool:
        """Queue the step again, for another attempt; False when it is no longer ours.

        `failed` says that the attempt failed, which counts; one that ended because its process was
        told to, or because a neighbour is away, does not. `stage` says why it waits, `due_s` in how
        many seconds a message brings it; without one the janitor does.
        """
        values: dict[str, object] = {"state": State.QUEUED, "stage": stage, "resends": 0}
        values["enqueued_at"] = None if due_s is None else now() + due_s
        if failed:
            values["failures"] = steps.c.failures + 1
        else:
            values["attempts"] = step.attempts - 1
        if stage not in (WAITS_FOR_STORAGE, WAITS_FOR_ROOM):  # else it goes on waiting
            values["queued_at"] = now()
        return self._end(step, **values)

    def _end(self, step: Step, **values: object) -> bool:
        ended = {"owner": None, "lease_until": None, "stage": None, "eta_s": None, **values}
        return self._change(step, settled=True, **ended)

    def _change(self, step: Step, *, settled: bool, **values: object) -> bool:
        with self.store.engine.begin() as db:
            changed = db.execute(
                steps.update()
                .where(
                    steps.c.id == step.id,
                    steps.c.state == State.RUNNING,
                    steps.c.owner == self.owner,
                )
                .values(values)
            )
            ours = changed.rowcount == 1
            if ours and settled:
                settle(db, step.job_id)
        return ours
