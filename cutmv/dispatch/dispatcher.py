"""The dispatcher: sends the steps of a job to the broker, or runs them here when it fails.

A job is written to the store before anything is sent. When a publish fails, the broker may have
accepted its message all the same; so the local runner takes the same steps, under the same ids, and
the claim lets only one of the two run each.
"""

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from cutmv.app import app
from cutmv.dispatch.circuit_breaker import CircuitBreaker
from cutmv.dispatch.deleter import Deleter
from cutmv.dispatch.deriving import TASKS, publish_derivative
from cutmv.dispatch.local_runner import LocalRunner
from cutmv.dispatch.recent import Recent
from cutmv.jobs import (
    OVERVIEW,
    Backlog,
    Costs,
    Derivative,
    Derivatives,
    Job,
    JobRequest,
    State,
    Step,
    Upload,
    check_job,
    current,
    plan_again,
    plan_job,
    retry,
    revoke,
)
from cutmv.progress import ProgressEvent, ProgressFeed
from cutmv.services import Services
from cutmv.worker import derivative_id, publish, tasks_of

#: Seconds for which the broker's status is answered again without asking the broker.
STATUS_MAX_AGE_S = 3.0
#: The name of each mode's broker, for people.
BROKER_NAMES = {"cloudflare": "Cloudflare Queues", "redis": "Redis", "eager": "Cloudflare Queues"}

log = logging.getLogger(__name__)


class Dispatcher:
    """Submits and cancels the jobs of one process, and knows whether its broker answers.

    The janitor (`cutmv.dispatch.janitor`) sends the steps that a crash has left unsent.
    """

    def __init__(self, services: Services, feed: ProgressFeed) -> None:
        self.services, self.breaker = services, CircuitBreaker()
        self.backlog, self.deleter = Backlog(services.store), Deleter(services)
        self.derivatives = Derivatives(services.store, services.storage)
        self._feed, self._runner = feed, LocalRunner(services, feed)
        self._mode = services.settings.mode
        self._status = Recent(self._ask_status, STATUS_MAX_AGE_S)

    def submit(
        self,
        request: JobRequest,
        key: str | None = None,
        *,
        of: str | None = None,
        client: str = "",
    ) -> Job:
        """Accept a job and send its steps; of one `key` of the client's there is one job.

        The upload must belong to `of`, if given; `client` names whose turns the steps take where
        they run here and are no person's. Raises TooLargeJob, UnknownUpload, KeyReused, MediaError
        for a bad clip, TooManySteps, TooManyRows, NoSpace while this machine has no room, and as a
        look at the upload where an earlier version's told less.
        """
        store, services = self.services.store, self.services
        services.room.require()
        upload = store.upload(request.upload_id, of)
        upload = current(store, services.storage, upload, services.cache)
        return self._accept(plan_job(upload, request, key), client)

    def again(
        self, job: Job, key: str | None = None, *, only_failed: bool = False, client: str = ""
    ) -> Job:
        """Accept a job that makes what another one was to make, or what of it failed.

        Of one `key` there is one such job. Raises as `submit`.
        """
        store, services = self.services.store, self.services
        services.room.require()
        current(store, services.storage, store.upload(job.upload.id), services.cache)
        return self._accept(plan_again(job, key, only_failed=only_failed), client)

    def _accept(self, planned: Job, client: str) -> Job:
        """Keep a job that was planned, and send its steps."""
        store = self.services.store
        check_job(planned, self.services.settings.limits)
        job = store.add_job(planned)
        if job.route is not None or job.state is not State.QUEUED:
            return job  # the request came before, and its steps were sent
        try:
            if self.backlog.hold(job.id, self._mode):
                return store.job(job.id)
            # Of many steps the janitor sends the others, by turns with other clients'.
            by_broker = self._why_not() is None
            first = job.steps[: self.backlog.room(job.id)] if by_broker else job.steps
            self.send(job, first, client)
            return store.job(job.id)
        except SQLAlchemyError as error:
            # The job is in the store, so it will run; an error would make the client send it twice.
            log.warning("job %s is left to the janitor: %s", job.id, type(error).__name__)
            return job

    def delete_job(self, job_id: str) -> None:
        """Delete a job with its outputs, for good; its running steps stop. Raises UnknownJob."""
        steps = self.services.store.job(job_id).steps
        self.deleter.job(job_id)
        for step in steps:  # so that who watches it hears of that at once
            self._feed.publish(ProgressEvent(step.id, job_id, State.CANCELLED.value))

    def cancel(self, job_id: str) -> Job:
        """End a job; its running steps stop within a second. Raises UnknownJob."""
        job = self.services.freeing(lambda: self.services.store.cancel(job_id))
        for step in job.steps:
            self._feed.publish(ProgressEvent(step.id, job.id, step.state.value))
        return job

    def retry(self, step_id: str) -> None:
        """Run a step anew that has failed. Raises UnknownJob, NotFailed."""
        step = retry(self.services.store, step_id)
        job = self.services.store.job(step.job_id)
        self._feed.publish(ProgressEvent(step.id, step.job_id, step.state.value))
        self.send(job, [step])

    def revoke(self, step_id: str) -> None:
        """End one step, which stops within a second if it runs. Raises UnknownJob, NotOpen."""
        step = self.services.freeing(lambda: revoke(self.services.store, step_id))
        self._feed.publish(ProgressEvent(step.id, step.job_id, step.state.value))

    def derive(self, kind: Derivative[Any], upload: Upload, client: str = "") -> None:
        """Have a derivative of an upload made when it is its person's turn.

        Where it is made here `client` names whose turns that takes if it is nobody's. Raises
        TooManyDerivatives, StorageFull, TooManyRows, UnknownUpload, StorageError.
        """
        if self.derivatives.ask(kind, upload):
            self._send_derivative(kind, upload, client)

    def derive_next(self) -> None:
        """Have those derivatives made whose turn has come, or that whoever had them has lost.

        Raises StorageError.
        """
        for kind, upload in self.derivatives.next(alone=self._why_not() is not None):
            if not self._runner.has(derivative_id(kind.name, upload.id)):
                self._send_derivative(kind, upload)

    def _send_derivative(self, kind: Derivative[Any], upload: Upload, client: str = "") -> None:
        """Give a derivative to a worker; make it here, by turns, when the broker fails."""
        self.derivatives.prepare(kind, upload)
        reason = self._why_not()
        if reason is None:
            try:
                publish_derivative(self.services.settings, kind, upload)
            except Exception as error:  # it must be made, whatever the broker raises
                reason = _one_line(error)
                self.breaker.failed(reason)
            else:
                self.derivatives.sent(kind, upload)
                return
        log.info("the %s of upload %s is made here: %s", kind.name, upload.id, reason)
        whose = upload.person_id or client
        # By turns of its own: what is to be seen at once waits for none of the person's cuts.
        turns = f"overviews of {whose}" if kind is OVERVIEW else whose
        self._runner.derive(TASKS[kind.name][0], kind.name, upload.id, turns)

    def send(self, job: Job, steps: Sequence[Step], client: str = "") -> None:
        """Send queued steps of a job to the broker; run them here when it fails.

        Raises SQLAlchemyError when the job store fails; the janitor sends the steps then.
        """
        if not steps:
            return
        reason = self._why_not()
        if reason is None:
            costs = Costs(self.services.store).model()
            broker, about = BROKER_NAMES[self._mode], {"job_id": job.id}
            log.info("🚀 Attempting to enqueue job %s to %s...", job.id, broker, extra=about)
            try:
                publish(self.services.settings, job, steps, costs)
            except Exception as error:  # the job must run, whatever the broker raises
                log.debug("enqueueing job %s failed", job.id, exc_info=True)
                reason = _one_line(error)
                self.breaker.failed(reason)
            else:
                self.backlog.sent([step.id for step in steps], self._mode)
                log.info("✅ Job successfully enqueued to %s: %s", broker, job.id, extra=about)
                return
        self.run_here(job, steps, reason, client)

    def run_here(self, job: Job, steps: Sequence[Step], reason: str, client: str = "") -> None:
        """Run queued steps in this process, by the turns of a person, or else of a client.

        `reason` says why no worker gets them.
        """
        steps = [step for step in steps if not self.runs(step.id)]
        if not steps:
            return
        log.warning(
            "⚠️ %s not available: %s", BROKER_NAMES[self._mode], reason, extra={"job_id": job.id}
        )
        log.info(
            "🔄 Falling back to direct processing... (job %s)", job.id, extra={"job_id": job.id}
        )
        self.backlog.sent([step.id for step in steps], "eager")
        client = job.person_id or client
        for together in tasks_of(job, steps, Costs(self.services.store).model()):
            self._runner.run(*(step.id for step in together), client=client, job_id=job.id)

    def runs(self, step_id: str) -> bool:
        """Whether a step waits or runs in this process."""
        return self._runner.has(step_id)

    def probe_broker(self) -> None:
        """Ask the broker for its queues, and close or open the circuit breaker by the answer."""
        try:
            with app.connection_for_write() as connection:
                channel: Any = connection.default_channel
                for name in self.services.settings.queue_names:
                    channel.queue_declare(name)
        except Exception as error:
            self.breaker.failed(_one_line(error))
        else:
            if self.breaker.reason is not None:
                log.info("✅ %s answers again", BROKER_NAMES[self._mode])
            self.breaker.succeeded()

    def status(self) -> dict[str, Any]:
        """The status of the broker, asked STATUS_MAX_AGE_S seconds ago at most."""
        return self._status.get()

    def close(self) -> None:
        """Stop the steps that run here, and queue them again."""
        self._runner.close()

    def _why_not(self) -> str | None:
        if self._mode == "eager":
            return "Queue not configured"
        return self.breaker.reason

    def _ask_status(self) -> dict[str, Any]:
        configured = self._mode != "eager"
        if configured:
            self.probe_broker()
        reason, name = self._why_not(), self.services.settings.queue_name
        return {
            "healthy": reason is None,
            "message": f"Queue '{name}' is operational" if reason is None else reason,
            "configured": configured,
            "mode": self._mode,
            "fallback": None if reason is None else "eager",
        }


def _one_line(error: Exception) -> str:
    """An error in one line for people: its type, and the first line of its message."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
