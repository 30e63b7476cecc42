"""The janitor: sends the steps that a crash has left, probes a failed broker, deletes what is old.

Several processes may each have a janitor: a step that is sent twice runs once, and to delete an
object that is gone is no error.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby

from cutmv.app import app
from cutmv.config import OWN_PREFIXES, RESULT_EXPIRES_S, RESULTS_PREFIX
from cutmv.database import DATABASE_AWAY, cause
from cutmv.dispatch.deleter import Deleter
from cutmv.dispatch.dispatcher import Dispatcher
from cutmv.jobs import (
    UNFINISHED_AGE_S,
    UPLOADS_PREFIX,
    MultipartUploads,
    Parts,
    UnknownJob,
    UnknownUpload,
    part_key,
)
from cutmv.logs import Outage
from cutmv.storage import StorageError
from cutmv.transports.cloudflare import note_trouble
from cutmv.worker import sweep_workspace

#: Seconds between two readings of the job store.
RESUME_INTERVAL_S = 2.0
#: Seconds that the request which made a job has to send it, before a janitor does.
MIN_JOB_AGE_S = 10.0
#: Seconds in which running steps renew their claims after the database was away.
RENEWAL_S = 5.0
#: Seconds between probes of a broker that has steps of ours: it may have died with them. Over
#: Cloudflare that is a fortieth of the account's calls, and none when no step is queued.
BROKER_PROBE_INTERVAL_S = 10.0
#: Seconds between sweeps of old files; while a disk is full; and of what killed processes left.
SWEEP_INTERVAL_S, SHORT_SWEEP_INTERVAL_S, LEFTOVERS_INTERVAL_S = 3600.0, 30.0, 60.0
#: Seconds after which a stored upload that the job store does not know is: longer than any probe.
ORPHAN_AGE_S = 3600.0

log = logging.getLogger(__name__)


class Janitor:
    """Looks after the jobs of a dispatcher, in a thread, until it is closed."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher, self._services = dispatcher, dispatcher.services
        self._deleter = Deleter(dispatcher.services)
        self._closing = threading.Event()
        self._probed_at = time.monotonic()
        self._no_reclaim_before = 0.0
        self._outage = Outage(log, "the database", "the janitor waits for it")
        self._shortage = Outage(log, "room on this machine's disks", "uploads and jobs are refused")
        self._no_storage = Outage(log, "the storage", "what is to be made of uploads waits for it")
        self._swept = self._tidied = float("-inf")
        #: When the last sweep ended, in seconds since 1970; None before the first.
        self.swept_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        """Start the thread; it first resumes what an earlier process left."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join()

    def resume(self) -> None:
        """Send each queued step that neither a broker nor this process may be going to run."""
        dispatcher, backlog = self._dispatcher, self._dispatcher.backlog
        if dispatcher.breaker.wants_probe or self._broker_may_be_gone():
            self._probed_at = time.monotonic()
            dispatcher.probe_broker()
        if time.monotonic() >= self._no_reclaim_before:
            for step in Parts(self._services.store).settle():
                log.warning("step %s was left when its parts had ended; it goes on", step.id)
            for step_id in backlog.reclaim():
                log.warning("step %s was left by its worker; it is queued again", step_id)
            self._outage.ended()
        works = dispatcher.breaker.reason is None
        steps = (
            [step for step in backlog.to_send(MIN_JOB_AGE_S) if not dispatcher.runs(step.id)]
            if works
            else backlog.waiting(MIN_JOB_AGE_S, but=dispatcher.runs)
        )
        steps.sort(key=lambda step: step.job_id)
        for job_id, of_job in groupby(steps, key=lambda step: step.job_id):
            try:
                dispatcher.send(self._services.store.job(job_id), list(of_job))
            except DATABASE_AWAY:
                raise
            except Exception as error:  # whatever is wrong with one job: others wait, too
                note_trouble("janitor", error, "it goes on with other jobs")
        self._derive()
        self.delete_parts()
        self._deleter.finish()

    def _derive(self) -> None:
        """Have derivatives made by turns, and those that were lost once more."""
        try:
            self._dispatcher.derive_next()
            self._no_storage.ended()
        except StorageError as error:
            self._no_storage.began(error)

    def delete_parts(self) -> None:
        """Delete the parts of steps that have ended, or that are made whole."""
        parts = Parts(self._services.store)
        for part in parts.needless():
            with _errors_logged():
                key = part_key(part.job_id, part.parent_id or "", part.id)
                self._services.storage.delete(key)
                parts.forget(part)

    def _broker_may_be_gone(self) -> bool:
        dispatcher = self._dispatcher
        closed = dispatcher.services.settings.mode != "eager" and dispatcher.breaker.reason is None
        due = time.monotonic() - self._probed_at >= BROKER_PROBE_INTERVAL_S
        sent = dispatcher.backlog.has_enqueued, dispatcher.derivatives.has_sent
        return closed and due and any(has() for has in sent)

    def sweep(self) -> None:
        """Delete jobs, uploads, results and files that have expired.

        A failure is logged and ends no other deletion; the next sweep tries again.
        """
        for part in (
            self._tidy,
            lambda: self._services.storage.delete_unfinished(UNFINISHED_AGE_S, OWN_PREFIXES),
            self._mend,
            self._sweep_unfinished,
            self._sweep_jobs,
            self._sweep_uploads,
            self._sweep_results,
            self._deleter.sweep,
        ):
            with _errors_logged():
                part()

    def _tidy(self) -> None:
        """Delete what is on this machine's disk for nobody."""
        self._services.cache.trim()
        sweep_workspace(self._services.settings.data_dir)

    def _sweep_if_due(self) -> None:
        interval_s, now = SWEEP_INTERVAL_S, time.monotonic()
        if self._services.room.is_short():
            self._shortage.began("too little is left")
            interval_s = SHORT_SWEEP_INTERVAL_S
        else:
            self._shortage.ended()
            self._services.ballast.take_in()
        if now - self._swept >= interval_s:
            self._swept = self._tidied = now
            self.sweep()
            self.swept_at = time.time()
        elif now - self._tidied >= LEFTOVERS_INTERVAL_S:
            self._tidied = now
            self._tidy()

    def _mend(self) -> None:
        for job_id in self._dispatcher.backlog.mend():
            log.warning("a row of job %s can't be read; it has failed", job_id)

    def _sweep_jobs(self) -> None:
        store = self._services.store
        for job_id in store.expired_jobs(self._services.settings.retention_days):
            with _errors_logged(), suppress(UnknownJob):
                self._deleter.job(job_id)

    def _sweep_unfinished(self) -> None:
        begun = MultipartUploads(self._services.store, self._services.storage)
        begun.forget_unreadable()
        for expired in begun.expired(UNFINISHED_AGE_S):
            with _errors_logged():
                begun.abort(expired)

    def _sweep_uploads(self) -> None:
        store, storage = self._services.store, self._services.storage
        for upload in store.expired_uploads(self._services.settings.retention_days):
            with _errors_logged(), suppress(UnknownUpload):
                self._deleter.upload(upload.id, if_unused=True)
        # A process that died after it had stored the file, and before it added the upload.
        for stored in storage.list(UPLOADS_PREFIX):
            old = stored.modified < time.time() - ORPHAN_AGE_S
            if old and not store.expects(stored.key):
                storage.delete(stored.key)

    def _sweep_results(self) -> None:
        """Delete Celery's expired results, which Celery does by itself only in Redis."""
        app.backend.cleanup()
        storage = self._services.storage
        for stored in storage.list(RESULTS_PREFIX):
            if stored.modified < time.time() - RESULT_EXPIRES_S:
                storage.delete(stored.key)

    def _run(self) -> None:
        while not self._closing.is_set():
            # A job store on a full disk may need what a sweep frees.
            for part in (self.resume, self._sweep_if_due):
                self._try(part)
            self._closing.wait(random.uniform(0.5, 1.0) * RESUME_INTERVAL_S)

    def _try(self, part: Callable[[], None]) -> None:
        try:
            part()
        except DATABASE_AWAY as error:
            self._outage.began(cause(error) or type(error).__name__)
            self._no_reclaim_before = time.monotonic() + RENEWAL_S
        except BaseException as error:  # the thread must go on, whatever failed
            note_trouble("janitor", error, "it goes on")


@contextmanager
def _errors_logged() -> Iterator[None]:
    """Log any exception of the block, and go on."""
    try:
        yield
    except (*DATABASE_AWAY, StorageError) as error:
        why = cause(error) or type(error).__name__
        log.warning("the janitor could not delete something, and tries again later: %s", why)
    except Exception as error:
        note_trouble("janitor", error, "it goes on")
