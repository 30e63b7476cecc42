"""Who makes a derivative: one worker at a time, which tells that it lives until it has ended.

A claim that nobody renews has run out, and another may take it. All times are the database's.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs.derivatives.records import Derivative, DerivativeState, Records
from cutmv.jobs.model import Upload
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import derivatives
from cutmv.storage import Storage

#: Seconds for which one is held by who is about to send it, and by who makes it and has told so.
HELD_S = 60.0
#: Times that it is begun by workers that are lost with it.
MAX_ATTEMPTS = 5

is_open = derivatives.c.ended_at.is_(None)


class DerivativeClaim:
    """A derivative that this worker makes. All methods raise SQLAlchemyError."""

    def __init__(self, store: JobStore, kind: Derivative[Any], upload_id: str) -> None:
        self._store, self._owner = store, uuid.uuid4().hex
        self._row = row_of(kind.name, upload_id)
        self._own = sa.and_(self._row, derivatives.c.owner == self._owner)

    @classmethod
    def take(
        cls, store: JobStore, storage: Storage, kind: Derivative[Any], upload: Upload
    ) -> DerivativeClaim | None:
        """Begin to make one; None where nobody wants it, it is made, or another worker is at it."""
        claim = cls(store, kind, upload.id)
        if claim._begin():
            return claim
        with store.engine.begin() as db:
            db.execute(derivatives.delete().where(claim._row, is_open, _is_unwanted, _is_free))
            known = db.scalar(sa.select(sa.exists().where(claim._row, is_open)))
        record = Records(storage, kind).of(upload)
        if known or record is None or record.state is not DerivativeState.QUEUED:
            return None
        # An earlier version has asked for it, which notes nothing here.
        with suppress(sa.exc.IntegrityError), store.engine.begin() as db:
            db.execute(derivatives.delete().where(claim._row, ~is_open))
            row = {"upload_id": upload.id, "kind": kind.name, "asked_at": now(), "look_at": now()}
            db.execute(derivatives.insert().values(row))
        return claim if claim._begin() else None

    def _begin(self) -> bool:
        may = sa.and_(is_open, _is_free, ~_is_unwanted, derivatives.c.attempts < MAX_ATTEMPTS)
        attempts = derivatives.c.attempts + 1
        return self._change(
            sa.and_(self._row, may), owner=self._owner, attempts=attempts, look_at=now() + HELD_S
        )

    def renew(self) -> bool:
        """Tell that it is being made; False where nobody wants it any more, or another has it."""
        return self._change(sa.and_(self._own, ~_is_unwanted), look_at=now() + HELD_S)

    def release(self, wait_s: float) -> None:
        """Leave it to the message that follows in `wait_s` seconds, or to who finds it left then.

        This was no attempt.
        """
        attempts = derivatives.c.attempts - 1
        self._change(self._own, owner=None, attempts=attempts, look_at=now() + wait_s)

    def drop(self) -> bool:
        """End it since nobody wants it; False where somebody does again, to whom it is left."""
        with self._store.engine.begin() as db:
            gone = db.execute(derivatives.delete().where(self._own, _is_unwanted)).rowcount
        if not gone:
            self.release(0.0)
        return bool(gone)

    def end(self) -> None:
        """Tell that it is made, or has failed: it is the turn of the next."""
        self._change(self._own, owner=None, look_at=None, ended_at=now())

    def _change(self, condition: sa.ColumnElement[bool], **values: Any) -> bool:
        with self._store.engine.begin() as db:
            return bool(db.execute(derivatives.update().where(condition).values(values)).rowcount)


def row_of(name: str, upload_id: str) -> sa.ColumnElement[bool]:
    """The row of a derivative, by its kind's name."""
    return sa.and_(derivatives.c.upload_id == upload_id, derivatives.c.kind == name)


def measure(store: JobStore, storage: Storage, kind: Derivative[Any], upload: Upload) -> None:
    """Note the bytes that are stored of one. Raises SQLAlchemyError, StorageError."""
    size = kind.stored_bytes(storage, upload)
    with store.engine.begin() as db:
        own = derivatives.update().where(row_of(kind.name, upload.id))
        db.execute(own.values(bytes=size))


_is_unwanted = derivatives.c.asked_at.is_(None)
_is_free = sa.or_(derivatives.c.owner.is_(None), derivatives.c.look_at <= now())
