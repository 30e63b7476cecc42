"""What encodings took: kept in the job store, and fitted by `cutmv.media.CostModel`."""

import sqlalchemy as sa

from cutmv.database import unreadable
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import costs
from cutmv.media import CostModel, Work

#: The latest encodings that are looked at, and so many times as many that are kept.
LATEST, KEPT_TIMES = 400, 2


class Costs:
    """The costs in a job store. All methods raise SQLAlchemyError when it fails."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def note(self, work: Work, seconds: float) -> None:
        """Keep what an encoding took."""
        row = {"kind": work.kind, "expected_s": work.expected_s, "seconds": seconds}
        with self._store.engine.begin() as db:
            number = db.execute(costs.insert().values(row)).inserted_primary_key
            if number is not None and number[0] % LATEST == 0:
                db.execute(costs.delete().where(costs.c.id <= number[0] - KEPT_TIMES * LATEST))

    def model(self) -> CostModel:
        """The model of the latest encodings."""
        latest = sa.select(costs)
        with self._store.reading() as db:
            rows = db.execute(latest.order_by(costs.c.id.desc()).limit(LATEST)).all()
        return CostModel.of(
            (row.kind, row.expected_s, row.seconds) for row in rows if not unreadable(costs, row)
        )
