"""Gives steps to the broker; the web server does so, and workers with parts.

Those of one clip are one task where they share a decode, all others are one each.
"""

import logging
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from cutmv.app import app
from cutmv.config import Settings
from cutmv.jobs import Backlog, Costs, Job, Step
from cutmv.media import (
    LIMIT_BASE_S,
    CostModel,
    MediaInfo,
    RenderPlan,
    groups,
    plan,
    work_of,
)
from cutmv.services import Services
from cutmv.tracing import span
from cutmv.transports.cloudflare import MAX_PUSHED, publish_batch
from cutmv.worker.patience import PATIENCE_S

#: The name of the task that runs a step.
CUT = "cutmv.cut"
#: Seconds between the soft time limit, which the task can answer, and the hard one.
HARD_LIMIT_GRACE_S = 30.0

#: Seconds that a step may take of which nothing can be told before a worker looks at its video.
UNKNOWN_LIMIT_S = 3600.0

log = logging.getLogger(__name__)


def publish(settings: Settings, job: Job, steps: Sequence[Step], costs: CostModel) -> None:
    """Publish steps of a job, with time limits by `costs`. Raises whatever the broker raises."""
    # The tasks share a group id and make no `group`, which would ask Redis for each result
    # first. They need no chord: the step that ends last ends its job, in one transaction of
    # the job store, which a crash can't split and a second delivery can't repeat.
    # They are published in one batch, since Cloudflare limits calls, not messages.
    with span("publish", {"cutmv.job_id": job.id}, kind="PRODUCER"), publish_batch(app):
        for together in tasks_of(job, steps, costs):
            # The steps may first wait for a neighbour that is away.
            soft_s = PATIENCE_S - (len(together) - 1) * LIMIT_BASE_S
            soft_s += sum(_limit_s(job.upload.info, step, costs) for step in together)
            limit_s = soft_s + HARD_LIMIT_GRACE_S
            app.signature(
                CUT,
                tuple(step.id for step in together),
                task_id=together[0].id,
                group_id=job.id,
                soft_time_limit=soft_s,
                time_limit=limit_s,
                queue=queue_for(settings, limit_s),
            ).apply_async()


def _limit_s(info: MediaInfo, step: Step, costs: CostModel) -> float:
    """Seconds that the making of a step may take."""
    try:
        if step.spec.join:
            return step.limit_s(info)
        return costs.limit_s(plan(info, step.clips(info)[0], step.spec, part=step.part))
    except Exception:  # whatever is wrong with it: its run will tell
        return UNKNOWN_LIMIT_S


def queue_for(settings: Settings, limit_s: float) -> str:
    """The queue of a task that may take so many seconds: a push has a limit of its own."""
    return settings.long_queue_name if limit_s > MAX_PUSHED else settings.queue_name


def tasks_of(job: Job, steps: Sequence[Step], costs: CostModel) -> list[list[Step]]:
    """The steps of each task: those of one clip that share a decode."""
    alone, shared, outputs = [], [], []
    for step in steps:
        single = not (step.parent_id or step.spec.join or step.division is not None)
        planned = _plan(job.upload.info, step) if single else None
        if planned is None:
            alone.append([step])
        else:
            shared.append(step)
            outputs.append((planned, costs.estimate(work_of(planned)).seconds))
    return [[shared[place] for place in places] for places in groups(outputs)] + alone


def _plan(info: MediaInfo, step: Step) -> RenderPlan | None:
    """How a step is made; none where it can't be, as its run will tell."""
    try:
        return plan(info, step.clips(info)[0], step.spec)
    except Exception:  # whatever is wrong with it: others must be sent all the same
        return None


def send_or_leave(services: Services, steps: Sequence[Step]) -> None:
    """Send steps of one job; leave them to the janitor when the broker or the store is away."""
    store, settings = services.store, services.settings
    try:
        publish(settings, store.job(steps[0].job_id), steps, Costs(store).model())
        Backlog(store).sent([step.id for step in steps], settings.mode)
    except SQLAlchemyError as error:
        log.warning("steps are left to the janitor: %s", type(error).__name__)
    except Exception as error:  # whatever the broker raises
        log.warning("steps could not be sent, and are left to the janitor: %s", error)
