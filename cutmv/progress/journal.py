"""The journal: what has happened to jobs, in one order, for all who look on. Pure.

Each entry has a number, higher than the one before, and is kept as the text that goes to a
browser: so all who see it see the same, and who was away for a moment gets what came since. The
oldest are forgotten, by their bytes; who has missed one of those begins anew.
"""

import json
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Bytes of text that are kept: of 20 jobs with 4 events a second each, some ten minutes.
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened to a job of somebody; `detail` is for who looks at this job."""

    seq: int
    person_id: str | None
    job_id: str
    detail: bool
    text: str


@dataclass(frozen=True)
class View:
    """What somebody sees: the jobs of the person `of`, or everybody's (None), and one in detail."""

    of: str | None
    watched: str | None = None

    def shows(self, entry: Entry) -> bool:
        """Whether an entry is for this view."""
        if self.of is not None and entry.person_id != self.of:
            return False
        return not entry.detail or entry.job_id == self.watched


class Journal:
    """The latest entries. Whoever calls it has its lock."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._entries: deque[Entry] = deque()
        #: The name of this numbering, which another process does not go on with.
        self.epoch = secrets.token_hex(6)
        #: The number of the last entry.
        self.seq = 0
        self._forgotten = 0

    def add(
        self, person_id: str | None, job_id: str, message: Mapping[str, Any], *, detail: bool
    ) -> Entry:
        """Note a message about a job, under the next number; returns the entry."""
        self.seq += 1
        entry = Entry(self.seq, person_id, job_id, detail, json.dumps({**message, "seq": self.seq}))
        self._entries.append(entry)
        self._bytes += len(entry.text)
        while self._bytes > self._max_bytes:
            oldest = self._entries.popleft()
            self._forgotten = oldest.seq
            self._bytes -= len(oldest.text)
        return entry

    def skip(self) -> int:
        """Leave out a number, which tells what was before from what comes; returns it."""
        self.seq += 1
        return self.seq

    def has_all_since(self, seq: int) -> bool:
        """Whether no entry after `seq` is forgotten, and that number has been reached."""
        return self._forgotten <= seq <= self.seq

    def since(self, seq: int) -> list[Entry]:
        """The entries after `seq`, the oldest first."""
        return list(self._newer(seq))[::-1]

    def _newer(self, seq: int) -> Iterator[Entry]:
        for entry in reversed(self._entries):
            if entry.seq <= seq:
                return
            yield entry
