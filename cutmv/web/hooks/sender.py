"""Sends what is due to hooks, each request in a thread, so that no receiver holds up another.

A hook gets one request at a time, and a person's hooks a few. Servers may share a database: a
delivery is claimed before it is sent.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from cutmv import __version__
from cutmv.database import DATABASE_AWAY
from cutmv.jobs import Deliveries, Delivery, Hooks, Job, UnknownHook, UnknownJob
from cutmv.services import Services
from cutmv.transports.cloudflare import keep_going, note_trouble
from cutmv.transports.cloudflare.edge import signature
from cutmv.web.hooks.events import body_of
from cutmv.web.hooks.posting import NotSent, post

#: Seconds between two looks, before the next where the database is away, and between two sweeps.
LOOK_S, AWAY_S, SWEEP_S = 2.0, 30.0, 3_600.0
#: Requests at once: in all, and of one person.
MOST_AT_ONCE, MOST_OF_ONE = 16, 4
#: Seconds that the thread has to end; requests on their way end with the process, and come again.
CLOSE_S = 1.0
#: The status by which a receiver says that it is there no more.
GONE = 410

log = logging.getLogger(__name__)


class HookSender:
    """Sends what is due, until it is closed. `anywhere` tells where hooks may lead."""

    def __init__(self, services: Services, anywhere: Callable[[], bool]) -> None:
        self._services, self._anywhere = services, anywhere
        self._deliveries = Deliveries(services.store.engine)
        self._closing, self._changed = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        #: Whose requests are on their way, by hook.
        self._busy: dict[str, str | None] = {}
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._changed.set()
        self._thread.join(CLOSE_S)

    def look(self) -> None:
        """Begin to send what is due and may be. Raises SQLAlchemyError."""
        with self._lock:
            busy = dict(self._busy)
        of_person = Counter(busy.values())
        for delivery in self._deliveries.due(busy):
            whose = delivery.hook.person_id
            if len(busy) >= MOST_AT_ONCE:
                return
            if of_person[whose] < MOST_OF_ONE and self._deliveries.claim(delivery):
                busy[delivery.hook.id] = whose
                of_person[whose] += 1
                self._begin(delivery)

    def send(self, delivery: Delivery) -> None:
        """Send a delivery that is claimed, and note what came of it. Raises SQLAlchemyError."""
        job: Job | None = None
        if delivery.job_id is not None:
            try:
                job = self._services.store.job(delivery.job_id)
            except UnknownJob:  # and with it the delivery
                return
            if job.finished_at != delivery.happened_at:
                self._deliveries.drop(delivery)
                return
        here = (self._services.settings.access.url or "").rstrip("/")
        body = body_of(delivery, job, here)
        secrets, request_id = delivery.hook.secrets, f"msg_{delivery.id}"
        headers = {
            "content-type": "application/json",
            "user-agent": f"CUTMV/{__version__}",
            **signature.headers(secrets, signature.Anyone(), body, request_id),
        }
        try:
            answer = post(delivery.hook.url, headers, body, anywhere=self._anywhere())
        except NotSent as error:
            self._missed(delivery, str(error))
            return
        if 200 <= answer.status < 300:
            self._deliveries.delivered(delivery, f"HTTP {answer.status}")
        elif answer.status == GONE:
            self._gone(delivery)
        else:
            self._missed(delivery, f"HTTP {answer.status}", answer.wait_s)

    def _missed(self, delivery: Delivery, answer: str, wait_s: float = 0.0) -> None:
        if not self._deliveries.missed(delivery, answer, wait_s):
            log.warning(
                "webhook %s: %s of job %s is given up after a day: %s",
                delivery.hook.id,
                delivery.event,
                delivery.job_id,
                answer,
            )

    def _gone(self, delivery: Delivery) -> None:
        self._deliveries.refused(delivery, f"HTTP {GONE}")
        try:
            why = f"The receiver says that it is there no more (HTTP {GONE})."
            Hooks(self._services.store.engine).disable(
                delivery.hook.person_id, delivery.hook.id, why
            )
        except UnknownHook:  # it was deleted meanwhile
            return
        log.warning("webhook %s is disabled: its receiver answers 410", delivery.hook.id)

    def _begin(self, delivery: Delivery) -> None:
        with self._lock:
            self._busy[delivery.hook.id] = delivery.hook.person_id
        thread = threading.Thread(
            target=self._send, args=(delivery,), name="hook-request", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads: its claim runs out, and it is sent then
            self._ended(delivery)
            raise

    def _send(self, delivery: Delivery) -> None:
        try:
            self.send(delivery)
        except DATABASE_AWAY:  # its claim runs out, and it is sent again
            log.info("webhook %s: the database is away; it is told again", delivery.hook.id)
        except BaseException as error:
            note_trouble("hook-request", error, "it is sent again")
        finally:
            self._ended(delivery)

    def _ended(self, delivery: Delivery) -> None:
        with self._lock:
            self._busy.pop(delivery.hook.id, None)
        self._changed.set()

    def _run(self) -> None:
        keep_going("hooks", self._go_on, self._closing)

    def _go_on(self) -> None:
        # At first, too: a server that has just begun is told then where it listens.
        sweep_at, pause_s = time.monotonic(), LOOK_S
        while True:
            self._changed.wait(pause_s)
            self._changed.clear()
            if self._closing.is_set():
                return
            pause_s = LOOK_S
            try:
                self.look()
                if time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + SWEEP_S
                    self._deliveries.sweep()
            except DATABASE_AWAY:  # others tell of it
                pause_s = AWAY_S
