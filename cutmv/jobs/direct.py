"""Run steps in this process, without a broker: the eager mode, and the fallback of the others."""

import contextvars
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from cutmv.progress import Hub
from cutmv.services import Services
from cutmv.tasks import Direct, cut, direct

#: Steps at once. FFmpeg uses all cores for one; a second fills the pauses of the first.
WORKERS = 2

log = logging.getLogger(__name__)


class DirectRunner:
    """A bounded executor of `cutmv.cut`, each by Celery's own eager `apply` and its own id."""

    def __init__(self, services: Services, hub: Hub) -> None:
        self._direct = Direct(services, hub.publish, self._again, threading.Event())
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="direct")
        self._lock = threading.Lock()
        self._accepted: set[str] = set()
        self._later: dict[str, float] = {}
        self._timers: dict[str, threading.Timer] = {}

    def run(self, step_id: str) -> None:
        """Run a step soon, unless it is here already; returns at once."""
        with self._lock:
            if step_id in self._accepted or self._direct.stopping.is_set():
                return
            self._accepted.add(step_id)
            context = contextvars.Context()
            self._executor.submit(context.run, self._apply, step_id)

    def has(self, step_id: str) -> bool:
        """Whether a step waits or runs here."""
        with self._lock:
            return step_id in self._accepted or step_id in self._timers

    def close(self) -> None:
        """Stop what runs, which gives its steps back, and wait for that."""
        with self._lock:
            self._direct.stopping.set()
            for timer in self._timers.values():
                timer.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _again(self, step_id: str, seconds: float) -> None:
        """Run a step that is ending once more after a while; until then others have its place."""
        with self._lock:
            self._later[step_id] = seconds

    def _apply(self, step_id: str) -> None:
        direct.set(self._direct)
        try:
            # Errors end in the job store, where people look; Celery has logged them.
            cut.apply((step_id,), task_id=step_id, throw=False)
        except Exception:
            log.exception("step %s could not be run here", step_id)
        finally:
            with self._lock:
                self._accepted.discard(step_id)
                seconds = self._later.pop(step_id, None)
                if seconds is not None and not self._direct.stopping.is_set():
                    timer = threading.Timer(seconds, self._wake, (step_id,))
                    timer.daemon = True
                    self._timers[step_id] = timer
                    timer.start()

    def _wake(self, step_id: str) -> None:
        with self._lock:
            del self._timers[step_id]
        self.run(step_id)
