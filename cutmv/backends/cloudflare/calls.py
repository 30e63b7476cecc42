"""Operations on results, of which those of concurrent threads share calls.

There is no thread. A caller whose operations find fewer than `MAX_CALLS` calls under way makes one
at once. Those that come meanwhile wait; when a call ends, the first that waits makes the next one,
for all. So a single thread has no delay, and many threads make few calls.

Every operation may be performed twice and changes nothing the second time; so one whose answer was
lost is asked again.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery.exceptions import ImproperlyConfigured

from cutmv.transports.cloudflare.errors import CloudflareError, NotFound, ServerFault

Op = Mapping[str, Any]
Answer = Mapping[str, Any]

#: Makes a signed call of a path with a body, in so many seconds, and returns its JSON.
Ask = Callable[[str, bytes, float], Mapping[str, Any]]

#: The Worker's route.
PATH = "/v1/results"

#: Operations of a call, and bytes: the Worker takes 1 MiB.
MAX_OPS, MAX_BYTES = 1_000, 1_000_000

#: Calls of a process under way at once.
MAX_CALLS = 2

#: Seconds for one call, and for operations that fail for a passing reason to be asked again.
CALL_TIMEOUT, PATIENCE = 5.0, 20.0

#: First and longest pause (s) before operations are asked again; a random part of it is taken.
PAUSE_FIRST, PAUSE_MOST = 0.1, 2.0


class Interrupted(CloudflareError):
    """The thread that made the call was interrupted, so another has to."""

    passing = True


@dataclass(slots=True, eq=False)
class _Pending:
    """Operations of one caller that fit one call. `ready` is set when they are done, or to lead."""

    ops: Sequence[bytes]
    deadline: float
    leads: bool = False
    ready: threading.Event = field(default_factory=threading.Event)
    answers: Sequence[Answer] | None = None
    error: CloudflareError | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.ops)) + len(self.ops)


class Calls:
    """Performs operations on results by calls to the Worker at `host`. Threads share it."""

    def __init__(self, ask: Ask, host: str) -> None:
        self._ask, self._host = ask, host
        self._lock = threading.Lock()
        self._waiting: deque[_Pending] = deque()
        self._under_way = 0

    def perform(self, ops: Sequence[Op], patience: float = PATIENCE) -> list[Answer]:
        """Return the answers to operations; what fails for a passing reason is asked again.

        That goes on for `patience` seconds. Raises a `CloudflareError`, and `ImproperlyConfigured`
        where the Worker keeps no results.
        """
        deadline = time.monotonic() + patience
        answers: list[Answer] = [{"again": True}] * len(ops)
        while left := [n for n, answer in enumerate(answers) if answer.get("again")]:
            texts = {n: _dump(ops[n]) for n in left}
            for part in _in_calls(left, texts):
                told = self._perform([texts[n] for n in part], deadline)
                for n, answer in zip(part, told, strict=True):
                    answers[n] = answer
        return answers

    def _perform(self, ops: Sequence[bytes], deadline: float) -> Sequence[Answer]:
        for attempt in range(1_000):
            pending = _Pending(ops, deadline)
            self._commit(pending)
            if pending.answers is not None:
                return pending.answers
            error = pending.error or Interrupted("results: the call was interrupted")
            pause = random.uniform(0, min(PAUSE_MOST, PAUSE_FIRST * 2 ** min(attempt, 16)))
            if isinstance(error, NotFound):
                raise ImproperlyConfigured(
                    f"result backend cloudflare://: the edge Worker at {self._host} keeps no "
                    f"results: deploy edge/ anew ({error})"
                )
            if not error.passing or time.monotonic() + pause >= deadline:
                raise error.again()
            time.sleep(pause)
        raise AssertionError("attempts without end")

    def _commit(self, pending: _Pending) -> None:
        led = False
        try:
            with self._lock:
                if self._under_way < MAX_CALLS:
                    pending.leads = True
                    self._under_way += 1
                else:
                    self._waiting.append(pending)
            if not pending.leads:
                # A call under way ends in time; whoever makes it then hands over the lead.
                pending.ready.wait(max(pending.deadline - time.monotonic(), 0) + 2 * CALL_TIMEOUT)
            if pending.leads:
                led = True
                self._lead(pending)
        finally:
            # Also when an exception (a task's time limit, say) interrupts the wait.
            with self._lock:
                if pending in self._waiting:
                    self._waiting.remove(pending)
                if pending.leads and not led:
                    self._pass_on()

    def _lead(self, own: _Pending) -> None:
        batch: list[_Pending] = []
        error: CloudflareError = Interrupted("results: the call was interrupted")
        try:
            batch = self._take(own)
            ops = [op for pending in batch for op in pending.ops]
            timeout = min(CALL_TIMEOUT, max(0.5, own.deadline - time.monotonic()))
            answers = self._ask(PATH, b'{"ops":[' + b",".join(ops) + b"]}", timeout).get("answers")
            if not isinstance(answers, list) or len(answers) != len(ops):
                raise ServerFault("the edge Worker's answer is none to operations on results")
            start = 0
            for pending in batch:
                pending.answers = answers[start : start + len(pending.ops)]
                start += len(pending.ops)
        except CloudflareError as told:
            error = told
        finally:
            for pending in batch:
                pending.error = error
                pending.ready.set()
            with self._lock:
                self._pass_on()

    def _take(self, own: _Pending) -> list[_Pending]:
        """Take the operations of this caller, and those of others that fit the same call."""
        with self._lock:
            batch, count, size = [own], len(own.ops), own.size
            while self._waiting:
                pending = self._waiting[0]
                count, size = count + len(pending.ops), size + pending.size
                if count > MAX_OPS or size > MAX_BYTES:
                    break
                batch.append(self._waiting.popleft())
        return batch

    def _pass_on(self) -> None:
        """Have the first that waits make a call; the lock is held."""
        if self._waiting:
            heir = self._waiting.popleft()
            heir.leads = True
            heir.ready.set()
        else:
            self._under_way = max(0, self._under_way - 1)


def _dump(op: Op) -> bytes:
    return json.dumps(op, separators=(",", ":"), ensure_ascii=False).encode()


def _in_calls(numbers: Sequence[int], texts: Mapping[int, bytes]) -> Iterator[list[int]]:
    """Split operations, by their numbers, into calls."""
    part: list[int] = []
    size = 0
    for n in numbers:
        more = len(texts[n]) + 1
        if part and (len(part) >= MAX_OPS or size + more > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(n)
        size += more
    if part:
        yield part
