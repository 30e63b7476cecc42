"""The parts of steps that take long: each is a step of its own, which any worker may run.

A divided step is running and has no owner until all of its parts are done; then it is queued again,
and whoever claims it joins them. If a part fails it is queued, too, to be made whole. So nothing
hangs on one process: what one leaves undone between two of these transactions, the next pass of a
janitor does.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs.model import OPEN_STATES, Division, State, Step, with_parts
from cutmv.jobs.rows import shown_step
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import steps

#: Since when, and until when of a step's clip, in seconds from its start.
Span = tuple[Fraction, Fraction]

#: Parts that are told at once to be needless; the next time tells others.
MOST_NEEDLESS = 200

parents = steps.alias("parents")


class Parts:
    """The parts in a job store. All methods raise SQLAlchemyError when it fails."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def divide(
        self, step: Step, owner: str, spans: Sequence[Span], seconds: Sequence[float]
    ) -> list[Step]:
        """Divide the step that `owner` runs; returns its parts, none when it is not theirs.

        Each part has a span of the step, and the seconds that it is going to take. All are encoded
        by software, which is the same on each worker.
        """
        with self._store.engine.begin() as db:
            ours = sa.and_(
                steps.c.id == step.id, steps.c.state == State.RUNNING, steps.c.owner == owner
            )
            values = {"owner": None, "lease_until": None, "division": Division.PARTS}
            changed = db.execute(
                steps.update().where(ours).values(**values, attempts=step.attempts - 1)
            )
            if changed.rowcount != 1:
                return []
            queued_at = db.scalar(sa.select(now()))
            rows = [
                {
                    "id": f"{step.id}-{number:03d}",
                    "job_id": step.job_id,
                    "position": step.position,
                    "name": step.name,
                    "clip": step.clip,
                    "start_s": step.start_s + float(span[0]),
                    "end_s": step.start_s + float(span[1]),
                    "kind": step.spec.kind,
                    "aspect": step.spec.aspect,
                    "fit": step.spec.fit,
                    "spec": replace(step.spec, encoded_by="software").to_dict(),
                    "state": State.QUEUED,
                    "eta_s": seconds_of,
                    "queued_at": queued_at,
                    "parent_id": step.id,
                    "part": [str(at) for at in span],
                }
                for number, (span, seconds_of) in enumerate(
                    zip(spans, seconds, strict=True), start=1
                )
            ]
            db.execute(steps.insert(), rows)
            return self._of(db, step.id)

    def of(self, step_id: str) -> list[Step]:
        """The parts of a step, in their order."""
        with self._store.reading() as db:
            return self._of(db, step_id)

    def settle(self, step_id: str | None = None) -> list[Step]:
        """Queue again the divided steps (or this one) whose parts have ended; returns them.

        Those that have a part which failed are to be made whole, and their other parts end.
        """
        waiting = [steps.c.state == State.RUNNING, steps.c.division == Division.PARTS]
        waiting += [steps.c.owner.is_(None)]
        waiting += [] if step_id is None else [steps.c.id == step_id]
        with self._store.reading() as db:
            if db.execute(sa.select(steps.c.id).where(*waiting).limit(1)).first() is None:
                return []
        due = []
        with self._store.engine.begin() as db:
            # Two parts that end at once must see each other: the second waits here for the first.
            for row in db.execute(sa.select(steps).where(*waiting).with_for_update()).all():
                parts = self._of(db, row.id)
                failed = any(p.state in (State.FAILED, State.CANCELLED) for p in parts)
                if failed or all(p.state is State.DONE for p in parts):
                    due.append(self._queue(db, shown_step(row), parts, failed=failed))
        return due

    def needless(self) -> list[Step]:
        """The parts that are needed no more: their step has ended, or is made whole."""
        needless = sa.or_(parents.c.state.not_in(OPEN_STATES), parents.c.division != Division.PARTS)
        left = sa.select(steps).join(parents, steps.c.parent_id == parents.c.id).where(needless)
        with self._store.reading() as db:
            return [shown_step(row) for row in db.execute(left.limit(MOST_NEEDLESS))]

    def forget(self, part: Step) -> None:
        """Delete a part. The caller has deleted its object from the storage."""
        with self._store.engine.begin() as db:
            db.execute(steps.delete().where(steps.c.id == part.id))

    @staticmethod
    def _of(db: sa.Connection, step_id: str) -> list[Step]:
        of_step = sa.select(steps).where(steps.c.parent_id == step_id).order_by(steps.c.id)
        return [shown_step(row) for row in db.execute(of_step)]

    @staticmethod
    def _queue(db: sa.Connection, step: Step, parts: Sequence[Step], *, failed: bool) -> Step:
        if failed:
            others = sa.and_(steps.c.parent_id == step.id, steps.c.state.in_(OPEN_STATES))
            ended = {"state": State.CANCELLED, "owner": None, "lease_until": None}
            db.execute(steps.update().where(others).values(ended))
        row = db.execute(
            steps.update()
            .where(steps.c.id == step.id)
            .values(
                state=State.QUEUED,
                stage=None,
                percent=with_parts(step, parts).percent,
                division=Division.WHOLE if failed else Division.PARTS,
                enqueued_at=None,
                resends=0,
                queued_at=now(),
            )
            .returning(steps)
        ).one()
        return shown_step(row)
