"""What no request does: resume after a crash, find the broker again, delete what is old.

Several processes may each have a janitor: a step brought twice runs once, and deleting what is
gone is no error.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

from cutmv.app import app
from cutmv.config import RESULT_EXPIRES_S, RESULTS_PREFIX
from cutmv.jobs import work
from cutmv.jobs.submit import Dispatcher

#: Seconds between looks at the job store.
TICK_S = 2.0
#: Seconds that a new job's own request has for sending it, before a janitor does.
FRESH_S = 10.0
#: Seconds after which a message that no worker took is taken as lost by its broker.
AWAY_S = 1800.0
#: Seconds between questions to a broker that holds steps of ours: it may have died with them.
#: Over Cloudflare that is a fortieth of the account's calls, and none when nothing waits.
PROBE_S = 10.0
#: Seconds between sweeps of old files.
SWEEP_S = 3600.0
#: Seconds after which a file that belongs to nothing is an accident's: far longer than any cut.
ORPHAN_S = 2 * 86_400.0

log = logging.getLogger(__name__)


class Janitor:
    """A thread that looks after the jobs of a dispatcher until it is closed."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher, self._services = dispatcher, dispatcher.services
        self._closing = threading.Event()
        self._asked_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        """Begin, with a look at what an earlier process left."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join()

    def resume(self) -> None:
        """Bring each step that waits and that nobody may be bringing."""
        dispatcher, store = self._dispatcher, self._services.store
        if dispatcher.breaker.wants_probe or self._broker_may_be_gone():
            self._asked_at = time.monotonic()
            dispatcher.probe_broker()
        for step_id in store.reclaim():
            log.warning("step %s was left by its worker; it is queued again", step_id)
        reason = dispatcher.breaker.reason
        steps = store.stranded(AWAY_S, FRESH_S) if reason is None else store.waiting(FRESH_S)
        for job_id, of_job in groupby(steps, key=lambda step: step.job_id):
            job = store.job(job_id)
            dispatcher.send(job, list(of_job))

    def _broker_may_be_gone(self) -> bool:
        closed = self._dispatcher.breaker.reason is None
        due = time.monotonic() - self._asked_at >= PROBE_S
        return closed and due and self._services.store.has_enqueued()

    def sweep(self) -> None:
        """Delete jobs, uploads, results and files that are past their time.

        What can't be deleted now is tried again by the next sweep, and keeps nothing else.
        """
        for part in (
            self._sweep_jobs,
            self._sweep_uploads,
            self._sweep_results,
            lambda: self._services.storage.delete_unfinished(ORPHAN_S),
            lambda: work.sweep(self._services.settings.data_dir),
        ):
            with _noted():
                part()

    def _sweep_jobs(self) -> None:
        store, storage = self._services.store, self._services.storage
        for job_id in store.expired_jobs(self._services.settings.retention_s):
            with _noted():
                storage.delete_prefix(f"jobs/{job_id}/")
                store.delete_job(job_id)

    def _sweep_uploads(self) -> None:
        store, storage = self._services.store, self._services.storage
        for upload in store.expired_uploads(self._services.settings.retention_s):
            with _noted():
                storage.delete(upload.key)
                store.delete_upload(upload.id)
        # Its uploader died between storing the file and noting it.
        for stored in storage.list("uploads/"):
            if stored.modified < time.time() - ORPHAN_S and not store.has_upload(stored.key):
                storage.delete(stored.key)

    def _sweep_results(self) -> None:
        """Delete Celery's results, which Celery itself does nowhere but in Redis, or by a beat."""
        app.backend.cleanup()
        storage = self._services.storage
        for stored in storage.list(RESULTS_PREFIX):
            if stored.modified < time.time() - RESULT_EXPIRES_S:
                storage.delete(stored.key)

    def _run(self) -> None:
        swept = float("-inf")
        while not self._closing.is_set():
            try:
                self.resume()
                if time.monotonic() - swept >= SWEEP_S:
                    swept = time.monotonic()
                    self.sweep()
            except Exception:  # the next look must come, whatever this one met
                log.exception("the janitor met an error and goes on")
            self._closing.wait(random.uniform(0.5, 1.0) * TICK_S)


@contextmanager
def _noted() -> Iterator[None]:
    """Log what goes wrong, and go on."""
    try:
        yield
    except Exception:
        log.exception("the janitor could not delete something, and tries again later")
