"""What is to be told to hooks: each delivery is sent until its receiver takes it, for a day.

Whoever sends one claims it first. When that process dies, before or after the receiver has taken
it, the claim runs out, and another sends it again, by the same id: at least once, and a receiver
that notes ids takes it once.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cutmv.database import now, readable, unreadable
from cutmv.jobs.hooks.endpoints import Hook, to_hook, wrong_of_hook
from cutmv.jobs.model import new_id
from cutmv.jobs.tables import hook_deliveries, hooks
from cutmv.people import enabled_ids

#: What a test tells.
TEST = "webhook.test"
#: Seconds between two attempts: after the last, a day has gone, and it has failed.
PAUSES_S = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 28_800.0)
#: The part of a pause by which it is longer or shorter, by chance.
JITTER = 0.1
#: Seconds for which a claim is good: longer than an attempt takes.
CLAIM_S = 60.0
#: Days for which what has ended is shown.
SHOWN_DAYS = 7
#: Deliveries that one look finds, and those of a hook that are shown.
MOST, MOST_SHOWN = 100, 20
#: Characters of an answer that are kept.
MAX_ANSWER_CHARS = 200


@dataclass(frozen=True)
class Delivery:
    """One event for one hook, and what became of it; times in seconds since 1970.

    It is of a job, but for a test. `attempts` are those that began; `answer` is what the last one
    was answered. It waits while it is neither delivered nor failed.
    """

    id: str
    hook: Hook
    job_id: str | None
    event: str
    happened_at: float
    attempts: int
    due_at: float | None
    delivered_at: float | None
    failed_at: float | None
    answer: str | None

    @property
    def state(self) -> str:
        """What became of it: `waiting`, `delivered` or `failed`."""
        if self.delivered_at is not None:
            return "delivered"
        return "waiting" if self.failed_at is None else "failed"


class Deliveries:
    """The deliveries of a database. All methods raise SQLAlchemyError when it fails."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def due(self, busy: Collection[str] = ()) -> list[Delivery]:
        """Of each hook that is not `busy`, the delivery that is due longest.

        None of a hook that is disabled, or whose owner is. What can't be read of them has failed.
        """
        rank = sa.func.row_number().over(
            partition_by=hook_deliveries.c.hook_id,
            order_by=(hook_deliveries.c.due_at, hook_deliveries.c.id),
        )
        is_due = sa.and_(
            hook_deliveries.c.due_at <= now(), hook_deliveries.c.hook_id.not_in(list(busy))
        )
        ranked = sa.select(hook_deliveries.c.id, rank.label("rank")).where(is_due).subquery()
        may = sa.and_(
            hooks.c.disabled_at.is_(None),
            hooks.c.person_id.is_(None) | hooks.c.person_id.in_(enabled_ids()),
        )
        first = hook_deliveries.c.id.in_(sa.select(ranked.c.id).where(ranked.c.rank == 1))
        found = self._found(sa.and_(first, may), hook_deliveries.c.due_at, MOST)
        for delivery in found:
            if delivery.state == "failed":
                self.refused(delivery, delivery.answer or "")
        return [delivery for delivery in found if delivery.state != "failed"]

    def claim(self, delivery: Delivery) -> bool:
        """Begin an attempt; False where another has, or it has ended."""
        own = sa.and_(
            hook_deliveries.c.id == delivery.id,
            hook_deliveries.c.attempts == delivery.attempts,
            hook_deliveries.c.due_at <= now(),
        )
        begun = {"attempts": delivery.attempts + 1, "due_at": now() + CLAIM_S}
        return self._change(own, **begun)

    def delivered(self, delivery: Delivery, answer: str) -> None:
        """Note that the receiver has taken it."""
        own = hook_deliveries.c.id == delivery.id
        self._change(own, due_at=None, delivered_at=now(), failed_at=None, answer=_short(answer))

    def missed(self, delivery: Delivery, answer: str, wait_s: float = 0.0) -> bool:
        """Note that the attempt begun by `claim` has failed; tell whether another follows.

        It does after a pause, of `wait_s` at least.
        """
        last = delivery.attempts >= len(PAUSES_S)
        ended: dict[str, Any] = {"due_at": None, "failed_at": now()}
        if not last:
            pause_s = PAUSES_S[delivery.attempts] * random.uniform(1 - JITTER, 1 + JITTER)
            ended = {"due_at": now() + max(pause_s, wait_s)}
        # Whoever has claimed it meanwhile says what becomes of it.
        own = sa.and_(
            hook_deliveries.c.id == delivery.id,
            hook_deliveries.c.attempts == delivery.attempts + 1,
            hook_deliveries.c.due_at.is_not(None),
        )
        self._change(own, **ended, answer=_short(answer))
        return not last

    def refused(self, delivery: Delivery, answer: str) -> None:
        """Note that the receiver will never take it."""
        own = hook_deliveries.c.id == delivery.id
        self._change(own, due_at=None, failed_at=now(), answer=_short(answer))

    def drop(self, delivery: Delivery) -> None:
        """Forget one whose job has not ended after all: a step of it was begun anew."""
        with self._engine.begin() as db:
            own = hook_deliveries.c.id == delivery.id
            db.execute(hook_deliveries.delete().where(own))

    def add_test(self, hook: Hook) -> str:
        """Have a test sent to a hook; the one of before is forgotten. Returns the id."""
        delivery_id = new_id()
        tests = sa.and_(hook_deliveries.c.hook_id == hook.id, hook_deliveries.c.event == TEST)
        with self._engine.begin() as db:
            db.execute(hook_deliveries.delete().where(tests))
            values = {"id": delivery_id, "hook_id": hook.id, "event": TEST, "attempts": 0}
            db.execute(hook_deliveries.insert().values(**values, happened_at=now(), due_at=now()))
        return delivery_id

    def of(self, hook: Hook) -> list[Delivery]:
        """The latest of a hook, the newest first."""
        own = hook_deliveries.c.hook_id == hook.id
        return self._found(own, hook_deliveries.c.happened_at.desc(), MOST_SHOWN)

    def sweep(self) -> None:
        """Forget those that have ended long ago."""
        ended = sa.func.coalesce(hook_deliveries.c.delivered_at, hook_deliveries.c.failed_at)
        with self._engine.begin() as db:
            old = ended < now() - SHOWN_DAYS * 86_400.0
            db.execute(hook_deliveries.delete().where(hook_deliveries.c.due_at.is_(None), old))

    def _reading(self) -> sa.Connection:
        return self._engine.connect().execution_options(reads_only=True)

    def _change(self, own: sa.ColumnElement[bool], **values: Any) -> bool:
        with self._engine.begin() as db:
            changed = db.execute(hook_deliveries.update().where(own).values(**values))
            return changed.rowcount == 1

    def _found(
        self, condition: sa.ColumnElement[bool], order: sa.ColumnElement[Any], limit: int
    ) -> list[Delivery]:
        its = [column for column in hook_deliveries.c if column.name != "id"]
        query = (
            sa.select(hooks, *its, hook_deliveries.c.id.label("delivery_id"), now().label("now"))
            .join(hook_deliveries, hook_deliveries.c.hook_id == hooks.c.id)
            .where(condition)
            .order_by(order, hook_deliveries.c.id)
            .limit(limit)
        )
        with self._reading() as db:
            return [_to_delivery(row) for row in db.execute(query)]


def _to_delivery(row: sa.Row[Any]) -> Delivery:
    """A row of both tables, with `now`; one that can't be read is shown as failed by that."""
    wrong, what = unreadable(hook_deliveries, row), "message"
    if not wrong and row.delivered_at is None and row.failed_at is None:
        wrong, what = wrong_of_hook(row), "webhook"
    told = readable(row, wrong)
    why = f"The row of this {what} can't be read ({', '.join(wrong)})."
    return Delivery(
        id=row.delivery_id,
        hook=to_hook(row),
        job_id=told["job_id"],
        event=told["event"] or "?",
        happened_at=told["happened_at"] or 0.0,
        attempts=told["attempts"] or 0,
        due_at=None if wrong else row.due_at,
        delivered_at=None if wrong else row.delivered_at,
        failed_at=row.now if wrong else row.failed_at,
        answer=why if wrong else row.answer,
    )


def _short(answer: str) -> str:
    return answer[:MAX_ANSWER_CHARS]
