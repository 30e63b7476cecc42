"""What the real API may do otherwise than this project believes, as switches.

Cloudflare's documentation leaves things open, and may be wrong or outdated. Each field of `Beliefs`
is one such thing; its default is what we believe, its other values are what the API may do instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from cutmv.emulator.model import Json

#: The values that a switch may have; a switch that is not here is a number, or true or false.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "total_pages": ("told", "missing", "one", "endless"),
    "name_filter": ("obeyed", "ignored", "refused", "partial", "blind"),
    "ratelimit": ("one", "several", "text", "garbage", "missing"),
    "backlog": ("all", "ready", "zero", "missing", "stale", "text"),
    "warnings": ("object", "list", "missing"),
    "handles": ("short", "odd"),
}

#: The least and most of the switches that are numbers.
_BOUNDS: Mapping[str, tuple[int, int]] = {
    "page_size": (1, 1000),
    "attempts_base": (0, 2),
    "delay_most": (0, 43_200),
}


@dataclass(frozen=True)
class Beliefs:
    """How the API behaves where its behaviour is not certain.

    Attributes:
        page_size: Queues of a page of the list at most, whatever the caller asks for.
        total_pages: What the list tells of its pages: how many there are, nothing, always one, or
            always more than there are.
        pages_repeat: Whether every page of the list is the first, since paging is ignored.
        name_filter: Whether the list obeys ``?name=``, ignores it, refuses it (400), takes it for a
            part of names, or finds nothing by it.
        several_consumers: Whether a queue may have several consumers; else a second is refused.
        attempts_base: The `attempts` of a message's first delivery.
        ratelimit: The header `Ratelimit` has one policy, several (the first of which is never the
            tightest), numbers as text, no sense, or is missing.
        backlog: What a pull counts as the backlog: all messages, those that can be pulled, always
            0, nothing, the count before the last change, or the number as text.
        late_acks: Whether an ack by an expired lease counts.
        warnings: In which shape an ack's response has its warnings.
        settings_fixed: Whether a change of a queue's settings is refused, as on the free plan.
        delay_most: Seconds of the longest delay that is accepted.
        pull_more: Whether a pull may bring one message more than was asked for.
        pull_twins: Whether a pull brings each message twice, under one lease.
        timestamps_text: Whether `attempts` and times come as text.
        handles: Whether ids of queues are hexadecimal and lease ids short, or neither.
    """

    page_size: int = 1000
    total_pages: str = "told"
    pages_repeat: bool = False
    name_filter: str = "obeyed"
    several_consumers: bool = False
    attempts_base: int = 1
    ratelimit: str = "one"
    backlog: str = "all"
    late_acks: bool = True
    warnings: str = "object"
    settings_fixed: bool = False
    delay_most: int = 43_200
    pull_more: bool = False
    pull_twins: bool = False
    timestamps_text: bool = False
    handles: str = "short"

    def as_json(self) -> Json:
        """Return every switch by its name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def parse_beliefs(document: Json) -> Beliefs:
    """Return the switches that JSON names, the rest by default. Error: ValueError."""
    if not isinstance(document, Mapping):
        raise ValueError("want an object of switches")
    known = Beliefs().as_json()
    for name, value in document.items():
        if name not in known:
            raise ValueError(f"there is no switch {name!r}: there are {', '.join(known)}")
        if name in _CHOICES:
            fits = value in _CHOICES[name]
        elif name in _BOUNDS:
            low, high = _BOUNDS[name]
            fits = type(value) is int and low <= value <= high
        else:
            fits = isinstance(value, bool)
        if not fits:
            wanted = _CHOICES.get(name) or _BOUNDS.get(name) or ("true", "false")
            raise ValueError(f"{name} is {value!r}: want {' or '.join(map(str, wanted))}")
    return replace(Beliefs(), **document)


class Switches:
    """The beliefs in force, and what they need to remember."""

    def __init__(self) -> None:
        self.now = Beliefs()
        self._counted: dict[str, int] = {}

    def set(self, beliefs: Beliefs) -> None:
        """Put these in force."""
        self.now = beliefs
        self._counted.clear()

    def stale(self, queue_id: str, count: int) -> int:
        """Return the count that was given at the last call for this queue, and keep this one."""
        before = self._counted.get(queue_id, 0)
        self._counted[queue_id] = count
        return before
