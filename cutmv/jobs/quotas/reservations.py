"""Bytes that an upload holds of its person's quota on its way, so that two can't take the last.

An upload which comes in parts holds what its row says. One that comes at once has a reservation:
all of it where its length was told, else as much as has come. Who has a process that died with it
gets the bytes back soon, when it expires.
"""

import time
from contextlib import suppress
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.database import DATABASE_AWAY, now
from cutmv.jobs.model import Upload
from cutmv.jobs.quotas.kept import require_row
from cutmv.jobs.quotas.refusals import StorageFull
from cutmv.jobs.quotas.stored import most_bytes, require_bytes
from cutmv.jobs.quotas.waiting import alone_with
from cutmv.jobs.tables import multipart_uploads, reservations, uploads

#: Seconds after which a reservation expires that nobody renews, and between two renewals.
LASTS_S, RENEWED_EVERY_S = 120.0, 20.0
#: Bytes by which a reservation grows of an upload whose length was not told.
STEP_BYTES = 16 * 1_048_576


class Reservation:
    """What the upload that will have the id `upload_id` holds, until it is there or has failed.

    >>> with Reservation(engine, limits, upload_id, person_id) as held:
    ...     held.hold(size)
    """

    def __init__(
        self, engine: sa.Engine, limits: Limits, upload_id: str, person_id: str | None
    ) -> None:
        self.upload_id, self.person_id = upload_id, person_id
        self._engine, self._limits = engine, limits
        self._is_bounded = False
        self._held = self._arrived = 0
        self._renewed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._is_bounded:
            with suppress(*DATABASE_AWAY), self._engine.begin() as db:  # else it expires
                db.execute(reservations.delete().where(reservations.c.id == self.upload_id))

    def hold(self, size: int) -> None:
        """Hold `size` bytes in all; none where the upload is there, since its request came before.

        Raises StorageFull, TooManyRows, SQLAlchemyError.
        """
        if self.person_id is None and self._limits.stored_bytes_of(None) is None:
            return
        if not self._held:
            require_row(self._engine, self.person_id, self._limits, self.upload_id)
        with self._engine.begin() as db:
            alone_with(db, self.person_id)
            is_there = db.scalar(sa.select(sa.exists().where(uploads.c.id == self.upload_id)))
            most = most_bytes(db, self.person_id, self._limits)
            self._is_bounded = most is not None and not is_there
            if not self._is_bounded:
                return
            require_bytes(db, self.person_id, self._limits, size, but=self.upload_id)
            over = reservations.c.expires_at <= now()
            own = reservations.c.id == self.upload_id
            db.execute(reservations.delete().where(sa.or_(own, over)))
            db.execute(
                reservations.insert().values(
                    id=self.upload_id,
                    person_id=self.person_id,
                    bytes=size,
                    expires_at=now() + LASTS_S,
                )
            )
        self._held, self._renewed_at = size, time.monotonic()

    def arrived(self, size: int) -> None:
        """Note that `size` bytes more have arrived. Raises StorageFull where they don't fit.

        While the database is away that is left to the end.
        """
        self._arrived += size
        if not self._is_bounded:
            return
        with suppress(*DATABASE_AWAY):
            if self._arrived > self._held:
                try:
                    self.hold(self._arrived + STEP_BYTES)
                except StorageFull:
                    self.hold(self._arrived)
            elif time.monotonic() - self._renewed_at > RENEWED_EVERY_S:
                self._renew()

    def _renew(self) -> None:
        """Hold the bytes for longer; ask anew where the reservation has expired."""
        alive = sa.and_(reservations.c.id == self.upload_id, reservations.c.expires_at > now())
        with self._engine.begin() as db:
            longer = reservations.update().where(alive).values(expires_at=now() + LASTS_S)
            is_alive = bool(db.execute(longer).rowcount)
        if is_alive:
            self._renewed_at = time.monotonic()
        else:
            self.hold(self._held)


def require_held(db: sa.Connection, upload: Upload, limits: Limits) -> None:
    """Raise StorageFull unless an upload held its bytes, or there are as many for it.

    It was just added, in the transaction of `db`; what it held ends.
    """
    held = [
        db.scalar(
            reservations.delete()
            .where(reservations.c.id == upload.id, reservations.c.expires_at > now())
            .returning(reservations.c.bytes)
        ),
        db.scalar(sa.select(multipart_uploads.c.size).where(multipart_uploads.c.id == upload.id)),
    ]
    if all(each is None or each < upload.size for each in held):
        require_bytes(db, upload.person_id, limits, upload.size, but=upload.id, is_stored=True)
