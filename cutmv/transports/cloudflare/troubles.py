"""Errors that nobody expected: logged, counted, and lived through by the threads that met them."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import mmap
import os
import re
import threading
import time
from collections import Counter
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds without an error after which a thread counts as well again.
WELL_AFTER = 60.0

#: Characters of an error's text that a report shows.
SHOWN_ERROR = 300

#: The parts of an error's text that may be a secret: a URL's password, a token.
_SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=Bearer )[^\s'\"]+", re.IGNORECASE)

#: How many child processes have room for their last error, and the bytes for each.
CHILDREN, CHILD_BYTES = 64, 1024


def shown(error: BaseException) -> str:
    """Return an error's type and text in a line, without the secrets that it may hold."""
    text = _SECRETS.sub("***", " ".join(str(error).split()))
    text = text.encode(errors="backslashreplace").decode()  # a lone surrogate can't be printed
    return f"{type(error).__name__}: {text}"[:SHOWN_ERROR]


class _Troubles:
    """The unexpected errors of this process: how many, and the last one of each of the last few.

    A pool's forked processes leave their last error to the process that made them, which people
    ask: each has a place in `page`, memory that it shares with its children.
    """

    #: Names that are kept; the one without an error for longest makes room.
    most = 20

    def __init__(self) -> None:
        self.page = mmap.mmap(-1, CHILDREN * CHILD_BYTES)
        self._parents: mmap.mmap | None = None
        self._forget()

    def fork(self) -> None:
        """Start without troubles; another thread may have held the parent's lock."""
        self._parents, self.page = self.page, mmap.mmap(-1, CHILDREN * CHILD_BYTES)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._count: Counter[str] = Counter()
        self._last: dict[str, tuple[float, str]] = {}
        self._total = 0

    def note(self, name: str, error: BaseException) -> bool:
        """Note an error; return whether it is another than the last of this name, or as good as."""
        text, now = shown(error), time.monotonic()
        with self._lock:
            self._total += 1
            self._count[name] += 1
            before, last = self._last.pop(name, (-math.inf, ""))
            self._last[name] = (now, text)
            while len(self._last) > self.most:
                oldest = next(iter(self._last))
                del self._last[oldest], self._count[oldest]
            self._leave_to_parent(name, text, now)
            return text != last or now - before > WELL_AFTER

    def _leave_to_parent(self, name: str, text: str, now: float) -> None:
        if self._parents is None:
            return
        said = text.encode("ascii", "backslashreplace").decode()[:SHOWN_ERROR]
        note = json.dumps([name[:64], self._count[name], now, said, self._total]).encode()
        start = os.getpid() % CHILDREN * CHILD_BYTES
        self._parents[start : start + CHILD_BYTES] = note[:CHILD_BYTES].ljust(CHILD_BYTES, b"\0")

    def _of_children(self) -> list[tuple[str, int, float, str, int]]:
        """For each child its last error: name, how many, when, text; and how many in all."""
        found = []
        for start in range(0, CHILDREN * CHILD_BYTES, CHILD_BYTES):
            data = self.page[start : start + CHILD_BYTES].rstrip(b"\0")
            with contextlib.suppress(ValueError):  # none, or one that is just being written
                name, errors, at, text, total = json.loads(data)
                found.append((name, errors, at, text, total))
        return found

    def report(self) -> dict[str, Any]:
        with self._lock:
            ours = [(name, self._count[name], *last, 0) for name, last in self._last.items()]
            total = self._total
        children = self._of_children()
        troubled: dict[str, dict[str, Any]] = {}
        for name, errors, at, text, _ in sorted(ours + children, key=lambda each: each[2]):
            before = troubled.get(name, {"errors": 0})["errors"]
            ago = time.monotonic() - at
            troubled[name] = {
                "well": ago > WELL_AFTER,
                "errors": before + errors,
                "last_error": text,
                "seconds_ago": round(ago),
            }
        return {
            "well": all(each["well"] for each in troubled.values()),
            "errors": total + sum(each[4] for each in children),
            "troubled": troubled,
        }


_troubles = _Troubles()


def _forget_parents() -> None:
    _troubles.fork()


os.register_at_fork(after_in_child=_forget_parents)


def note_trouble(name: str, error: BaseException, what_now: str) -> None:
    """Log an error that nobody expected, with its traceback, and count it.

    `name` is that of the thread or the work that met it, and `what_now` says how that goes on. One
    that is the same as the last a moment ago has no traceback again.
    """
    is_new = _troubles.note(name, error)
    logger.error(
        "%s met an error that nobody expected (%s); %s",
        name,
        shown(error),
        what_now,
        exc_info=error if is_new else None,
    )


def report() -> dict[str, Any]:
    """Return the errors of this process, and the last of each process that it forked, as JSON.

    ``well`` is false for `WELL_AFTER` seconds after an unexpected error. ``troubled`` has the last
    error of each thread that ever met one.
    """
    return _troubles.report()
