"""The monitor of a web process: what it has seen of queues, workers, jobs and disks."""

import time
from collections.abc import Sequence
from typing import Any

from cutmv.app import app
from cutmv.dispatch import Dispatcher, Janitor
from cutmv.monitoring.costs import Cost, a_month
from cutmv.monitoring.jobs import JobsLook, look_at_jobs
from cutmv.monitoring.look import Look
from cutmv.monitoring.queues import QueueSeen, look_at_queues
from cutmv.monitoring.workers import WorkerSeen, look_at_workers
from cutmv.storage import Disk
from cutmv.transports.cloudflare import admin, operations_report

#: Seconds for which an answer is told again: of the database, the disks and Redis; of workers by
#: Redis or the hub; of Cloudflare's API, whose calls are few (a list, and one for each queue); and
#: of workers by that (five calls, and two for each worker).
NEAR_S, WORKERS_S, API_S, WORKERS_API_S = 5.0, 10.0, 60.0, 120.0


class Monitor:
    """Looks at a deployment for operators, while they do. Threads may share it.

    `janitor` is the one of this process, if it has one.
    """

    def __init__(self, dispatcher: Dispatcher, janitor: Janitor | None = None) -> None:
        services = dispatcher.services
        settings = services.settings
        self.dispatcher, self.janitor = dispatcher, janitor
        by_api = settings.mode == "cloudflare"
        self.queues = Look[Sequence[QueueSeen]](
            "queues", lambda: look_at_queues(settings), API_S if by_api else NEAR_S
        )
        self.workers = Look[Sequence[WorkerSeen]](
            "workers",
            lambda: look_at_workers(settings),
            WORKERS_API_S if by_api and not settings.edge_url else WORKERS_S,
        )
        self.jobs = Look[JobsLook]("jobs", lambda: look_at_jobs(services.store), NEAR_S)
        self.disks = Look[Sequence[Disk]]("disks", services.room.disks, NEAR_S)
        self.edge = Look[admin.EdgeStatus | None]("edge", _look_at_edge, WORKERS_S)
        self._has_edge = by_api and settings.edge_url is not None
        self._began = time.monotonic()

    @property
    def looks(self) -> tuple[Look[Any], ...]:
        """All looks."""
        edge = (self.edge,) if self._has_edge else ()
        return (self.queues, self.workers, self.jobs, self.disks, *edge)

    def start(self) -> None:
        """Start the threads, which look when somebody wants to know."""
        for each in self.looks:
            each.start()

    def close(self) -> None:
        """End the threads."""
        for each in self.looks:
            each.close()

    def cost(self) -> Cost | None:
        """What a month costs like this one so far; None where Cloudflare has no part in it.

        Of what was seen last: asks nobody.
        """
        settings, jobs = self.dispatcher.services.settings, self.jobs.seen.answer
        if settings.mode != "cloudflare" and not settings.uses_r2:
            return None
        workers = self.workers.seen.answer or ()
        counted = [(each.operations or {}, each.uptime_s) for each in workers]
        counted.append((operations_report(), time.monotonic() - self._began))
        stored = sum(jobs.seen.stored.values()) if jobs and settings.uses_r2 else 0
        return a_month(counted, stored)


def _look_at_edge() -> admin.EdgeStatus | None:
    with admin.session_of(app) as session:
        return admin.edge_status(session)
