"""An answer that a thread asks for when somebody wants it, so that nobody waits for a neighbour."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cutmv.transports.cloudflare import note_trouble, shown

#: Seconds that a look has to end when the process does.
CLOSE_S = 1.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Seen(Generic[Answer]):
    """The latest answer, which came at `at` (by `time.monotonic`); None before the first.

    `problem` is one line: why the last look got none.
    """

    answer: Answer | None = None
    at: float = float("-inf")
    problem: str | None = None

    @property
    def age_s(self) -> float:
        """Seconds since the answer came."""
        return time.monotonic() - self.at


class Look(Generic[Answer]):
    """Asks by `ask`, in a thread, when somebody wants an answer and the last is `every_s` old.

    While nobody wants one nothing is asked. Threads may share it.
    """

    def __init__(self, name: str, ask: Callable[[], Answer], every_s: float) -> None:
        self.name, self.every_s = name, every_s
        self._ask = ask
        self._changed = threading.Condition()
        self._seen = Seen[Answer]()
        self._asked_at = float("-inf")
        #: How many looks have ended, and how often what they saw was changed.
        self._ended, self._outdated = 0, 0
        self._wanted = self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=f"look-{self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; one whose look hangs ends with the process."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    @property
    def seen(self) -> Seen[Answer]:
        """What was seen last. Asks nobody."""
        return self._seen

    def want(self) -> None:
        """Have it asked, if the answer is old. Returns at once."""
        with self._changed:
            if self._is_due():
                self._wanted = True
                self._changed.notify_all()

    def get(self, until: float = 0.0) -> Seen[Answer]:
        """What was seen; one that is old is asked for anew, and waited for until then.

        `until` is by `time.monotonic`. Asks here where there is no thread.
        """
        if self._thread is None:
            if self._is_due():
                self._look()
            return self._seen
        self.want()
        with self._changed:
            ended = self._ended
            self._changed.wait_for(
                lambda: not self._is_due() or self._ended != ended,
                max(0.0, until - time.monotonic()),
            )
            return self._seen

    def outdate(self) -> None:
        """Have it asked anew at the next `get`: what it tells of was changed."""
        with self._changed:
            self._outdated += 1
            self._asked_at = float("-inf")

    def _is_due(self) -> bool:
        return time.monotonic() - self._asked_at >= self.every_s

    def _look(self) -> None:
        outdated = self._outdated
        try:
            seen = Seen(self._ask(), time.monotonic())
        except Exception as error:  # whatever a broker or a database raises
            seen = replace(self._seen, problem=shown(error))
        with self._changed:
            self._seen = seen
            self._ended += 1
            if outdated == self._outdated:
                self._asked_at = time.monotonic()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closing)
                if self._closing:
                    return
                self._wanted = False
                if not self._is_due():  # somebody wanted it while it was asked
                    continue
            try:
                self._look()
            except BaseException as error:  # the thread must go on, whatever failed
                note_trouble("look", error, "it looks again when it is asked")
