"""Which derivatives were asked for, and whose turn it is: of each person few are sent at once.

Brokers hand out what came first first. So what one person asks for waits here, and another's is
sent before the rest of it. Who sends one holds it, and so does who makes one without a broker: if
that process dies, another takes it over.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.database import now
from cutmv.jobs.derivatives.records import (
    DERIVATIVES,
    Derivative,
    DerivativeState,
    Found,
    Record,
    Records,
)
from cutmv.jobs.model import UnknownUpload, UnreadableRow, Upload
from cutmv.jobs.quotas import alone_with, require_rows, require_some_bytes
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import derivatives, uploads
from cutmv.storage import Storage

#: Derivatives that one look finds; the next finds others.
MOST = 100
#: Seconds for which one is held, and between two looks at one that was sent.
LOOK_S = 60.0

F = TypeVar("F", bound=Found)
_is_open = derivatives.c.ended_at.is_(None)
_waits = sa.and_(_is_open, derivatives.c.look_at.is_(None))
_is_due = sa.and_(_is_open, derivatives.c.look_at <= now())
_is_left = sa.and_(_is_due, derivatives.c.sent_at.is_(None))
_is_late = sa.and_(_is_due, derivatives.c.sent_at.is_not(None))


class TooManyDerivatives(Exception):
    """As many derivatives of one person wait, or are being made, as may; one line for people."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} overviews, proxies and suggestions of yours wait or are being made, the"
            " limit: try again when some are there."
        )


class Derivatives:
    """What was asked to be made of the uploads of a job store, and is kept in a storage.

    All methods raise SQLAlchemyError and StorageError when these fail.
    """

    def __init__(self, store: JobStore, storage: Storage) -> None:
        self._store, self._storage = store, storage

    def record(self, kind: Derivative[F], upload: Upload) -> Record[F] | None:
        """What is known of a derivative; none if nobody asked for it, or nobody wants it now."""
        record = Records(self._storage, kind).of(upload)
        is_old = record and record.state is DerivativeState.QUEUED and not record.pending_s
        if record and is_old and self._waits(kind, upload):
            return replace(record, at=time.time())
        return record

    def ask(self, kind: Derivative[F], upload: Upload) -> tuple[Record[F], bool]:
        """Note that one is wanted; its record, and whether it is its turn: the caller has it made.

        Else `next` tells when it is. Raises TooManyDerivatives, StorageFull, TooManyRows,
        UnknownUpload.
        """
        is_turn = self._ask(kind, upload)
        return Records(self._storage, kind).keep(upload, Record(DerivativeState.QUEUED)), is_turn

    def _ask(self, kind: Derivative[Any], upload: Upload) -> bool:
        limits, own = self._store.limits, _row(kind.name, upload.id)
        theirs = sa.and_(_is_open, uploads.c.person_id.is_not_distinct_from(upload.person_id), ~own)
        with self._store.engine.begin() as db:
            alone_with(db, upload.person_id)
            if not db.scalar(sa.select(sa.exists().where(uploads.c.id == upload.id))):
                raise UnknownUpload(f"There is no upload {upload.id}; it may have expired.")
            require_some_bytes(db, upload.person_id, limits)
            of_kind = sa.func.count().filter(derivatives.c.kind == kind.name)
            counts = sa.select(sa.func.count(), of_kind).select_from(derivatives.join(uploads))
            unfinished, alike = db.execute(counts.where(theirs)).one()
            if unfinished >= limits.derivatives:
                raise TooManyDerivatives(limits.derivatives)
            is_turn: bool = alike < limits.derivatives_ahead
            values = {"asked_at": now(), "sent_at": None, "ended_at": None, "look_at": None}
            values |= _held() if is_turn else {}
            if not db.execute(derivatives.update().where(own).values(values)).rowcount:
                row = {"upload_id": upload.id, "kind": kind.name, **values}
                db.execute(derivatives.insert().values(row))
                require_rows(db, upload.person_id, limits)
            return is_turn

    def next(self) -> Iterator[tuple[Derivative[Any], Upload]]:
        """Those whose turn has come, or whose holder died; the caller has them made."""
        for kind, upload in self._taken(_of_turn(self._store.limits), sa.or_(_waits, _is_left)):
            records = Records(self._storage, kind)
            record = records.of(upload)
            if record is not None and record.state is not DerivativeState.QUEUED:
                if not record.pending_s:
                    self.ended(kind, upload)
                continue
            # After a long time it would be taken for lost.
            records.keep(upload, Record(DerivativeState.QUEUED))
            yield kind, upload

    def sent(self, kind: Derivative[Any], upload: Upload) -> None:
        """Note that a broker has taken one."""
        own = sa.and_(_row(kind.name, upload.id), _is_open)
        with self._store.engine.begin() as db:
            db.execute(derivatives.update().where(own).values(sent_at=now(), **_held()))

    def settle(self) -> None:
        """End those that nobody is at any more, and that nobody has told of."""
        found = sa.select(derivatives.c.kind, derivatives.c.upload_id).where(_is_late).limit(MOST)
        for kind, upload in self._taken(found, _is_late):
            record = Records(self._storage, kind).of(upload)
            if record is None or not record.pending_s:
                self.ended(kind, upload)

    def ended(self, kind: Derivative[Any], upload: Upload) -> None:
        """Note that nobody is at one any more, and the bytes that are stored of it."""
        size = kind.stored_bytes(self._storage, upload)
        values = {"ended_at": now(), "look_at": None, "bytes": size}
        own = derivatives.update().where(_row(kind.name, upload.id))
        # One without a row was sent by an earlier version; its upload may be deleted meanwhile.
        with suppress(sa.exc.IntegrityError), self._store.engine.begin() as db:
            if not db.execute(own.values(values)).rowcount:
                row = {"upload_id": upload.id, "kind": kind.name, "asked_at": now(), **values}
                db.execute(derivatives.insert().values(row))

    def forget(self, kind: Derivative[Any], upload: Upload) -> None:
        """Forget one, which nobody wants any more: whoever makes it stops."""
        with self._store.engine.begin() as db:
            db.execute(derivatives.delete().where(_row(kind.name, upload.id)))
        Records(self._storage, kind).forget(upload)

    def _waits(self, kind: Derivative[Any], upload: Upload) -> bool:
        """Whether one waits for its turn."""
        its = sa.exists().where(_row(kind.name, upload.id), _waits)
        with self._store.reading() as db:
            return bool(db.scalar(sa.select(its)))

    def _taken(
        self, found: sa.Select[tuple[str, str]], condition: sa.ColumnElement[bool]
    ) -> Iterator[tuple[Derivative[Any], Upload]]:
        """What is found, and held from now on, unless somebody else takes it meanwhile."""
        with self._store.reading() as db:
            rows = [(row.kind, row.upload_id) for row in db.execute(found)]
        for name, upload_id in rows:
            own = derivatives.update().where(_row(name, upload_id), condition)
            with self._store.engine.begin() as db:
                is_ours = db.execute(own.values(_held())).rowcount
            if is_ours and name in DERIVATIVES:  # else a later version's
                with suppress(UnknownUpload, UnreadableRow):
                    yield DERIVATIVES[name], self._store.upload(upload_id)


def _of_turn(limits: Limits) -> sa.Select[tuple[str, str]]:
    """The kinds and the uploads' ids of those whose turn it is, and of those that were left."""
    whose = (sa.func.coalesce(uploads.c.person_id, "").label("client"), derivatives.c.kind)
    of_uploads = derivatives.join(uploads)
    order = (derivatives.c.asked_at, derivatives.c.upload_id)
    rank = sa.func.row_number().over(partition_by=whose, order_by=order).label("rank")
    asked = (derivatives.c.upload_id, derivatives.c.asked_at)
    waiting = sa.select(*whose, *asked, rank).select_from(of_uploads).where(_waits).subquery()
    busy = (
        sa.select(*whose, sa.func.count().label("held"))
        .select_from(of_uploads)
        .where(_is_open, ~_waits)
        .group_by(*whose)
        .subquery()
    )
    theirs = sa.and_(waiting.c.client == busy.c.client, waiting.c.kind == busy.c.kind)
    room = limits.derivatives_ahead - sa.func.coalesce(busy.c.held, 0)
    first = (
        sa.select(waiting.c.kind, waiting.c.upload_id, waiting.c.rank, waiting.c.asked_at)
        .select_from(waiting.outerjoin(busy, theirs))
        .where(waiting.c.rank <= room)
    )
    left = sa.select(derivatives.c.kind, derivatives.c.upload_id, sa.literal(0), asked[1])
    both = sa.union_all(first, left.where(_is_left)).subquery()
    in_turn = sa.select(both.c.kind, both.c.upload_id).order_by(both.c.rank, both.c.asked_at)
    return in_turn.limit(MOST)


def _row(name: str, upload_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(derivatives.c.upload_id == upload_id, derivatives.c.kind == name)


def _held() -> dict[str, Any]:
    """What a row says of one that somebody has taken."""
    return {"look_at": now() + LOOK_S}
