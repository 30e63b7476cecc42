"""All jobs at one moment, and which of the steps that run take longer than they should."""

from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from cutmv.jobs import Costs, JobsSeen, JobStore, LiveStep, UnknownJob, look
from cutmv.media import CostModel, plan, work_of

#: A step is slow that runs for so many times its estimate, and for so many seconds.
SLOW_TIMES, SLOW_LEAST_S = 3.0, 60.0


@dataclass(frozen=True)
class JobsLook:
    """All jobs, and the ids of the steps that are slow."""

    seen: JobsSeen
    slow: frozenset[str]


def look_at_jobs(store: JobStore) -> JobsLook:
    """All jobs as they are now. Raises SQLAlchemyError when the store fails."""
    seen = look(store)
    long = [each for each in seen.live if each.ran_s > SLOW_LEAST_S]
    costs = Costs(store).model() if long else None
    slow = (each.step.id for each in long if costs and _is_slow(store, each, costs))
    return JobsLook(seen, frozenset(slow))


def _is_slow(store: JobStore, live: LiveStep, costs: CostModel) -> bool:
    step = live.step
    try:
        info = store.job(step.job_id).upload.info
        [clip] = step.clips(info)
        expected_s = costs.estimate(work_of(plan(info, clip, step.spec, part=step.part))).seconds
    except (UnknownJob, SQLAlchemyError):
        return False
    except Exception:  # a film, or what can't be planned: nobody knows what it should take
        return False
    return live.ran_s > SLOW_TIMES * expected_s
