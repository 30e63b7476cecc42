"""Which jobs wait since their person has as many as may be at once: the oldest unfinished go first.

Nothing is kept of that. However a job ends, the next is among the first, and a janitor sends it.
"""

import sqlalchemy as sa

from cutmv.jobs.model import OPEN_STATES
from cutmv.jobs.tables import jobs, steps
from cutmv.people import own_quotas

#: Whose jobs are counted together: a person's, or everybody's who has not signed in.
client = sa.func.coalesce(jobs.c.person_id, "")


def held_jobs(db: sa.Connection, at_once: int) -> sa.Select[tuple[str]]:
    """The ids of the jobs that wait for older ones; `at_once` is for people without a quota."""
    open_steps = sa.select(steps.c.job_id).where(steps.c.state.in_(OPEN_STATES))
    unfinished = jobs.c.id.in_(open_steps)
    own = own_quotas(db, "jobs", sa.select(jobs.c.person_id).where(unfinished))
    most = sa.case(own, value=client, else_=at_once) if own else sa.literal(at_once)
    place = sa.func.row_number().over(partition_by=client, order_by=(jobs.c.created_at, jobs.c.id))
    placed = (
        sa.select(jobs.c.id, most.label("most"), place.label("place")).where(unfinished).subquery()
    )
    return sa.select(placed.c.id).where(placed.c.place > placed.c.most)
