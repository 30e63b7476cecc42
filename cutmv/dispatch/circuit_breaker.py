"""The circuit breaker: keeps jobs from a broker that does not answer, until a probe succeeds."""

import random
import threading
import time

#: Seconds until a broker that failed is probed for the first time, and between probes at most.
FIRST_PROBE_S, MAX_PROBE_S = 1.0, 15.0


class CircuitBreaker:
    """Open after a failure, until a probe succeeds. Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._probe_at = 0.0
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """Why the breaker is open, in one line; None when it is closed."""
        return self._reason

    def failed(self, reason: str) -> None:
        """Open, or stay open for longer than before; `reason` is shown to people."""
        with self._lock:
            wait_s = min(MAX_PROBE_S, FIRST_PROBE_S * 2.0 ** min(self._failures, 10))
            self._failures += 1
            self._reason = reason
            self._probe_at = time.monotonic() + random.uniform(0.5, 1.0) * wait_s

    def succeeded(self) -> None:
        """Close."""
        with self._lock:
            self._failures, self._reason = 0, None

    @property
    def wants_probe(self) -> bool:
        """Whether the breaker is open and the next probe of the broker is due."""
        with self._lock:
            return self._reason is not None and time.monotonic() >= self._probe_at
