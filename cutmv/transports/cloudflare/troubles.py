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
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds without an error after which a thread counts as well again.
WELL_AFTER = 60.0

#: Seconds after which an error that is the same as the last has its traceback logged again.
TRACEBACK_AGAIN_AFTER = 300.0

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


@dataclass(slots=True)
class _Trouble:
    """The unexpected errors of one name. Times are those of `time.monotonic`."""

    count: int = 0
    in_a_row: int = 0  # without `WELL_AFTER` between two of them
    text: str = ""
    at: float = -math.inf
    told_at: float = -math.inf  # when a traceback was logged


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
        self._by_name: dict[str, _Trouble] = {}  # the last one last
        self._total = 0

    def note(self, name: str, error: BaseException) -> tuple[int, bool]:
        """Note an error; return how many there were in a row, and whether to log its traceback."""
        text, now = shown(error), time.monotonic()
        with self._lock:
            self._total += 1
            trouble = self._by_name[name] = self._by_name.pop(name, _Trouble())
            trouble.count += 1
            trouble.in_a_row = trouble.in_a_row + 1 if now - trouble.at <= WELL_AFTER else 1
            telling = text != trouble.text or now - trouble.told_at > TRACEBACK_AGAIN_AFTER
            trouble.text, trouble.at = text, now
            trouble.told_at = now if telling else trouble.told_at
            while len(self._by_name) > self.most:
                del self._by_name[next(iter(self._by_name))]
            self._leave_to_parent(name, trouble)
            return trouble.in_a_row, telling

    def _leave_to_parent(self, name: str, trouble: _Trouble) -> None:
        if self._parents is None:
            return
        said = trouble.text.encode("ascii", "backslashreplace").decode()[:SHOWN_ERROR]
        note = json.dumps([name[:64], trouble.count, trouble.at, said, self._total]).encode()
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
            ours = [
                (name, each.count, each.at, each.text, 0) for name, each in self._by_name.items()
            ]
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


def note_trouble(name: str, error: BaseException, what_now: str) -> int:
    """Log an error that nobody expected, with its traceback, and count it.

    `name` is that of the thread or the work that met it, and `what_now` says how that goes on. One
    that is the same as the last has no traceback again for `TRACEBACK_AGAIN_AFTER`. Returns how
    many there were in a row, without `WELL_AFTER` between two of them.
    """
    in_a_row, telling = _troubles.note(name, error)
    logger.error(
        "%s met an error that nobody expected (%s); %s",
        name,
        shown(error),
        what_now,
        exc_info=error if telling else None,
    )
    return in_a_row


def report() -> dict[str, Any]:
    """Return the errors of this process, and the last of each process that it forked, as JSON.

    ``well`` is false for `WELL_AFTER` seconds after an unexpected error. ``troubled`` has the last
    error of each thread that ever met one.
    """
    return _troubles.report()
