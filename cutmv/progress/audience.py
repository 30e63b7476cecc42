"""Who looks on: people with a list of jobs, and people with one job alone. Pure.

An entry of the journal finds its watchers by its job and its person, however many others there are.
"""

from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from typing import Protocol, TypeVar

from cutmv.progress.journal import Entry, View

_K = TypeVar("_K")


class Ending(Enum):
    """Why a watcher is told no more."""

    JOB_ENDED = "the job has ended"
    JOB_DELETED = "the job is gone"


class Watcher(Protocol):
    """One who looks on. Both methods return at once, and wait for nobody."""

    def tell(self, text: str) -> None:
        """Take a message, after all earlier ones."""

    def end(self, why: Ending) -> None:
        """Take notice that nothing more will come."""


class Audience:
    """All watchers of a process. Whoever calls it has its lock."""

    def __init__(self) -> None:
        self._views: dict[Watcher, View] = {}
        #: By whose jobs they list; by the job that they see in detail; by the job they have alone.
        self._lists: defaultdict[str | None, set[Watcher]] = defaultdict(set)
        self._details: defaultdict[str, set[Watcher]] = defaultdict(set)
        self._alone: defaultdict[str, set[Watcher]] = defaultdict(set)
        self._job_of: dict[Watcher, str] = {}

    def add(self, watcher: Watcher, view: View) -> None:
        """Have a watcher see a view, in place of an earlier one."""
        self.remove(watcher)
        self._views[watcher] = view
        self._lists[view.of].add(watcher)
        if view.watched is not None:
            self._details[view.watched].add(watcher)

    def add_alone(self, watcher: Watcher, job_id: str) -> None:
        """Have a watcher see one job, and nothing else."""
        self._job_of[watcher] = job_id
        self._alone[job_id].add(watcher)

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher, if there is such a one."""
        if (view := self._views.pop(watcher, None)) is not None:
            _discard(self._lists, view.of, watcher)
            if view.watched is not None:
                _discard(self._details, view.watched, watcher)
        if (job_id := self._job_of.pop(watcher, None)) is not None:
            _discard(self._alone, job_id, watcher)

    def view_of(self, watcher: Watcher) -> View | None:
        """What a watcher sees; None if they are gone."""
        return self._views.get(watcher)

    @property
    def views(self) -> Iterator[View]:
        """The views that somebody sees, each once for each kind of it."""
        yield from (View(of) for of in self._lists)
        for watchers in self._details.values():
            yield from {self._views[each] for each in watchers}

    @property
    def alone(self) -> Iterator[str]:
        """The jobs that somebody has alone."""
        yield from self._alone

    def tell(self, entry: Entry) -> None:
        """Tell an entry to all whose view shows it."""
        if entry.detail:
            watchers = self._details.get(entry.job_id, set())
        else:
            watchers = self._lists.get(entry.person_id, set())
            if entry.person_id is not None:
                watchers = watchers | self._lists.get(None, set())
        for each in watchers:
            if self._views[each].shows(entry):
                each.tell(entry.text)

    def has_alone(self, job_id: str) -> bool:
        """Whether somebody has a job alone."""
        return job_id in self._alone

    def tell_alone(self, job_id: str, text: str) -> None:
        """Tell a message to all who have a job alone."""
        for each in self._alone.get(job_id, ()):
            each.tell(text)

    def end_alone(self, job_id: str, why: Ending) -> None:
        """Tell no more to those who have a job alone."""
        for each in self._alone.pop(job_id, ()):
            del self._job_of[each]
            each.end(why)


def _discard(sets: dict[_K, set[Watcher]], key: _K, watcher: Watcher) -> None:
    sets[key].discard(watcher)
    if not sets[key]:
        del sets[key]
