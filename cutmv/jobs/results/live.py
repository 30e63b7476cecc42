"""What is looked at of jobs again and again, while somebody looks on: little of most of them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs.model import OPEN_STATES, Job
from cutmv.jobs.rows import load_jobs
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import jobs

#: Ids that one statement names: databases take a number of parameters.
MOST_IDS = 500
#: Seconds for which a job is new: far longer than from one look to the next.
RECENT_S = 60.0


@dataclass(frozen=True)
class Mark:
    """What tells whether a job has changed in any way but by its progress."""

    state: str
    route: str | None
    finished_at: float | None
    mail_wanted: bool


class LiveJobs:
    """Looks at the jobs of a store. Both methods raise SQLAlchemyError when it fails."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def marks(self, of: Collection[str] | None, known: Collection[str]) -> dict[str, Mark]:
        """The marks of the known jobs, and of those of some persons, or of all, that go on.

        Those go on that have not ended, or are new. A known job that is not among them was deleted.
        """
        columns = (jobs.c.id, jobs.c.state, jobs.c.route, jobs.c.finished_at, jobs.c.mail_wanted_at)
        whose = sa.true() if of is None else jobs.c.person_id.in_(of)
        # A short job may be made and end between two looks.
        going_on = jobs.c.state.in_(OPEN_STATES) | (jobs.c.created_at > now() - RECENT_S)
        wanted: list[Any] = [sa.and_(going_on, whose)]
        wanted += [jobs.c.id.in_(ids) for ids in _few(known)]
        found = {}
        with self._store.reading() as db:
            for each in wanted:
                for row in db.execute(sa.select(*columns).where(each)):
                    if not isinstance(row.id, str):  # a damaged row, which nobody is shown
                        continue
                    told = (row.state, row.route, row.finished_at)
                    found[row.id] = Mark(*told, mail_wanted=row.mail_wanted_at is not None)
        return found

    def load(self, ids: Collection[str]) -> list[Job]:
        """The jobs of some ids that are there, with their steps."""
        with self._store.reading() as db:
            return [job for few in _few(ids) for job in load_jobs(db, jobs.c.id.in_(few))]


def _few(ids: Collection[str]) -> list[list[str]]:
    every = list(ids)
    return [every[at : at + MOST_IDS] for at in range(0, len(every), MOST_IDS)]
