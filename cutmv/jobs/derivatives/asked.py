"""Which derivatives were asked for, and whose turn it is: of each person few are sent at once.

Brokers hand out what came first first. So what one person asks for waits here, and another's is
sent before the rest of it. Until it ends somebody looks after each: who is about to send it, then
who makes it (`claims`). If nobody has told of it when its time has come, it is sent again: its
message, or whoever had it, was lost. All times are the database's.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.database import now, unreadable
from cutmv.jobs.derivatives.claims import HELD_S, MAX_ATTEMPTS, is_open, measure, row_of
from cutmv.jobs.derivatives.records import (
    DERIVATIVES,
    Derivative,
    DerivativeState,
    Found,
    Record,
    Records,
)
from cutmv.jobs.model import UnknownUpload, UnreadableRow, Upload
from cutmv.jobs.quotas import StorageFull, alone_with, require_rows, require_some_bytes
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import derivatives, uploads
from cutmv.storage import Storage, StorageError

#: Derivatives that one look finds; the next finds others.
MOST = 100
#: Seconds after which one that a broker took and nobody has begun is sent again. They double with
#: each message, up to an hour: most often all workers are busy, and the message waits.
LOST_AFTER_S, MOST_DOUBLINGS = 60.0, 6
#: Messages of one that nobody begins: after a day it is given up.
MAX_SENDS = 28

F = TypeVar("F", bound=Found)
_waits = sa.and_(is_open, derivatives.c.look_at.is_(None))
_is_left = sa.and_(is_open, derivatives.c.look_at <= now())
_is_queued = sa.and_(is_open, derivatives.c.sent_at.is_not(None), derivatives.c.owner.is_(None))


class TooManyDerivatives(Exception):
    """As many derivatives of one person wait, or are being made, as may; one line for people."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} overviews, proxies and suggestions of yours wait or are being made, the"
            " limit: try again when some are there."
        )


@dataclass(frozen=True)
class Taken:
    """One that this process holds until `held_until`, and its row as it was before."""

    kind: Derivative[Any]
    upload: Upload
    was: sa.Row[Any]
    held_until: float


class Derivatives:
    """What was asked to be made of the uploads of a job store, and is kept in a storage.

    All methods raise SQLAlchemyError and StorageError when these fail.
    """

    def __init__(self, store: JobStore, storage: Storage) -> None:
        self._store, self._storage = store, storage

    def record(self, kind: Derivative[F], upload: Upload) -> Record[F] | None:
        """What is known of a derivative; none if nobody asked for it, or nobody wants it now."""
        own = sa.select(derivatives).where(row_of(kind.name, upload.id))
        with self._store.reading() as db:
            row = db.execute(own).one_or_none()
        record = Records(self._storage, kind).of(upload)
        if row is None or row.ended_at is not None:
            return record
        if row.asked_at is None:
            return None
        # While it is open its row says more: what a record tells may be of another time.
        if row.owner and record and record.state is DerivativeState.RUNNING:
            return replace(record, at=time.time())
        return Record(DerivativeState.QUEUED, at=time.time())

    def ask(self, kind: Derivative[F], upload: Upload) -> bool:
        """Note that one is wanted; tell whether it is its turn, and the caller has it made.

        Else it was asked for before, or `next` tells when it is. Raises TooManyDerivatives,
        StorageFull, TooManyRows, UnknownUpload.
        """
        limits, own = self._store.limits, row_of(kind.name, upload.id)
        with self._store.engine.begin() as db:
            alone_with(db, upload.person_id)
            if not db.scalar(sa.select(sa.exists().where(uploads.c.id == upload.id))):
                raise UnknownUpload(f"There is no upload {upload.id}; it may have expired.")
            wanted = {"asked_at": sa.func.coalesce(derivatives.c.asked_at, now())}
            if db.execute(derivatives.update().where(own, is_open).values(wanted)).rowcount:
                return False
            require_some_bytes(db, upload.person_id, limits)
            is_turn = _is_turn(db, kind, upload, limits)
            values: dict[str, Any] = {"sent_at": None, "sends": 0, "attempts": 0, "ended_at": None}
            values |= {"asked_at": now(), "look_at": now() + HELD_S if is_turn else None}
            if not db.execute(derivatives.update().where(own).values(values)).rowcount:
                row = {"upload_id": upload.id, "kind": kind.name, **values}
                db.execute(derivatives.insert().values(row))
                require_rows(db, upload.person_id, limits)
            return is_turn

    def next(self, *, alone: bool = False) -> Iterator[tuple[Derivative[Any], Upload]]:
        """Those that the caller has to have made: whose turn has come, or that somebody has lost.

        With `alone`, since no broker answers, also those that it has and nobody has begun.
        """
        lost = sa.or_(_is_left, _is_queued) if alone else _is_left
        for taken in self._taken(_of_turn(self._store.limits, lost)):
            if self._is_to_be_made(taken):
                yield taken.kind, taken.upload

    def prepare(self, kind: Derivative[Any], upload: Upload) -> None:
        """Write the record of one that is about to be sent.

        Workers of an earlier version leave alone what has none.
        """
        Records(self._storage, kind).keep(upload, Record(DerivativeState.QUEUED))

    def sent(self, kind: Derivative[Any], upload: Upload) -> None:
        """Note that a broker has taken one, which a worker may have begun, or made, already."""
        sends = derivatives.c.sends
        doublings = sa.case((sends < MOST_DOUBLINGS, sends), else_=MOST_DOUBLINGS)
        lost_at = now() + LOST_AFTER_S * sa.literal(1).op("<<")(doublings)
        look_at = sa.case((derivatives.c.owner.is_(None), lost_at), else_=derivatives.c.look_at)
        values = {"sent_at": now(), "sends": sends + 1, "look_at": look_at}
        own = sa.and_(row_of(kind.name, upload.id), is_open, ~_waits)
        with self._store.engine.begin() as db:
            db.execute(derivatives.update().where(own).values(values))

    def has_sent(self) -> bool:
        """Whether a broker has the message of one that nobody has begun."""
        with self._store.reading() as db:
            return bool(db.scalar(sa.select(sa.exists().where(_is_queued))))

    def forget(self, kind: Derivative[Any], upload: Upload) -> None:
        """Note that nobody wants one any more: who makes it stops.

        While a broker has its message it keeps its turn.
        """
        own = row_of(kind.name, upload.id)
        with self._store.engine.begin() as db:
            db.execute(derivatives.delete().where(own, sa.or_(_waits, ~is_open)))
            db.execute(derivatives.update().where(own).values(asked_at=None))
        Records(self._storage, kind).forget(upload)

    def _is_to_be_made(self, taken: Taken) -> bool:
        """Whether one that was taken is to be made; it is ended where it is not."""
        kind, upload, was = taken.kind, taken.upload, taken.was
        records = Records(self._storage, kind)
        had = was.sent_at is not None or was.owner is not None
        record = records.of(upload) if had else None
        if record and record.state in (DerivativeState.DONE, DerivativeState.FAILED):
            # Who has made it died before it told so, or is of an earlier version.
            self._end(taken)
        elif was.asked_at is None:
            records.forget(upload)
            self._end(taken)
        elif (
            record
            and record.state is DerivativeState.RUNNING
            and was.owner is None
            and record.pending_s
        ):
            # A worker of an earlier version is at it, which claims nothing.
            self._change(taken, sent_at=was.sent_at)
        elif why := self._why_not(taken):
            records.keep(upload, Record(DerivativeState.FAILED, error=why))
            self._end(taken)
        else:
            return True
        return False

    def _why_not(self, taken: Taken) -> str | None:
        """Why one is given up, in a line for people."""
        if wrong := unreadable(derivatives, taken.was):
            return f"Its row can't be read ({', '.join(wrong)}): ask for it again."
        if taken.was.attempts >= MAX_ATTEMPTS:
            return f"It was lost with its worker {taken.was.attempts} times."
        if taken.was.sends >= MAX_SENDS:
            return "No worker has taken it for a day."
        try:
            with self._store.reading() as db:
                require_some_bytes(db, taken.upload.person_id, self._store.limits)
        except StorageFull as full:
            return f"There is no room for it: {full}"
        return None

    def _end(self, taken: Taken) -> None:
        self._change(taken, ended_at=now(), look_at=None)
        with suppress(StorageError):  # it is counted when it is made again
            measure(self._store, self._storage, taken.kind, taken.upload)

    def _taken(self, found: sa.Select[Any]) -> Iterator[Taken]:
        """Those that are found, and that nobody else takes meanwhile."""
        with self._store.reading() as db:
            rows = db.execute(found).all()
        for row in rows:
            seen = derivatives.c.look_at.is_not_distinct_from(row.look_at)
            own = sa.and_(row_of(row.kind, row.upload_id), is_open, seen)
            values = {"look_at": now() + HELD_S, "owner": None, "sent_at": None}
            taken = derivatives.update().where(own).values(values)
            with self._store.engine.begin() as db:
                held_until = db.scalar(taken.returning(derivatives.c.look_at))
            if held_until is None:
                continue
            try:
                upload = self._store.upload(row.upload_id)
                yield Taken(DERIVATIVES[row.kind], upload, row, held_until)
            except UnknownUpload:
                pass
            except (UnreadableRow, KeyError):  # nobody can make it, or a later version alone
                with self._store.engine.begin() as db:
                    own = row_of(row.kind, row.upload_id)
                    db.execute(derivatives.update().where(own).values(ended_at=now(), look_at=None))

    def _change(self, taken: Taken, **values: Any) -> None:
        """Change the row of one that was taken, unless somebody else has it by now."""
        row = row_of(taken.kind.name, taken.upload.id)
        own = sa.and_(row, derivatives.c.look_at == taken.held_until)
        with self._store.engine.begin() as db:
            db.execute(derivatives.update().where(own, is_open).values(values))


def _is_turn(db: sa.Connection, kind: Derivative[Any], upload: Upload, limits: Limits) -> bool:
    """Whether a new one is sent at once. Raises TooManyDerivatives."""
    whose = uploads.c.person_id.is_not_distinct_from(upload.person_id)
    of_kind = sa.func.count().filter(derivatives.c.kind == kind.name)
    counts = sa.select(sa.func.count(), of_kind).select_from(derivatives.join(uploads))
    unfinished, alike = db.execute(counts.where(is_open, whose)).one()
    if unfinished >= limits.derivatives:
        raise TooManyDerivatives(limits.derivatives)
    return bool(alike < limits.derivatives_ahead)


def _of_turn(limits: Limits, lost: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The rows of those whose turn it is, and before them of those that were lost."""
    whose = (sa.func.coalesce(uploads.c.person_id, "").label("client"), derivatives.c.kind)
    of_uploads = derivatives.join(uploads)
    order = (derivatives.c.asked_at, derivatives.c.upload_id)
    rank = sa.func.row_number().over(partition_by=whose, order_by=order).label("rank")
    waiting = (
        sa.select(*whose, derivatives.c.upload_id, rank)
        .select_from(of_uploads)
        .where(_waits)
        .subquery()
    )
    busy = (
        sa.select(*whose, sa.func.count().label("held"))
        .select_from(of_uploads)
        .where(is_open, ~_waits)
        .group_by(*whose)
        .subquery()
    )
    theirs = sa.and_(waiting.c.client == busy.c.client, waiting.c.kind == busy.c.kind)
    room = limits.derivatives_ahead - sa.func.coalesce(busy.c.held, 0)
    first = (
        sa.select(waiting.c.kind, waiting.c.upload_id, waiting.c.rank)
        .select_from(waiting.outerjoin(busy, theirs))
        .where(waiting.c.rank <= room)
    )
    left = sa.select(derivatives.c.kind, derivatives.c.upload_id, sa.literal(0)).where(lost)
    both = sa.union_all(first, left).subquery()
    same = sa.and_(derivatives.c.upload_id == both.c.upload_id, derivatives.c.kind == both.c.kind)
    return sa.select(derivatives).join(both, same).order_by(both.c.rank, *order).limit(MOST)
