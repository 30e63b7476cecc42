"""Injected faults: rules, and the dice that decide for each call whether a rule acts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cutmv.emulator.model import Json

#: Kinds that decide the response to a call: at most one of them acts on a call.
ANSWERS = (
    "429",  # refused as overloaded, before the work
    "500",  # refused as an unknown error, before the work
    "503",  # the same, as unavailable
    "drop_before",  # the connection is closed before the work
    "drop_after",  # the work is committed, then the connection is closed
    "refused",  # refused before the work, with the rule's `status` and `code`
    "page",  # before the work, a proxy's page of HTML with the rule's `status`
    "redirect",  # before the work, a 302 to another address
    "failed",  # the work is committed, then the response has status 200 and `success` false
    "garbage",  # the work is committed, then the response is a proxy's error page with status 200
    "misshapen",  # the work is committed, then the response is JSON of a wrong shape
    "hang",  # neither work nor response, for as long as the caller waits
    "hang_after",  # the work is committed, then no response, for as long as the caller waits
)
#: Kinds that act on the messages of a pull.
ON_PULL = ("duplicate", "reorder")
KINDS = (*ANSWERS, *ON_PULL, "latency")

#: The fields of a rule that are numbers.
_NUMBERS = ("probability", "count", "retry_after", "latency_ms", "status", "code", "seed")

#: Seconds of `retry-after` in a 429 whose rule names none.
_RETRY_AFTER = 1


@dataclass
class Rule:
    """One kind of fault on one route (or `*`), with a `probability`, `count` times at most.

    A `duplicate` rule throws its dice for each message of a pull, all others for each call.
    """

    route: str
    kind: str
    probability: float = 1.0
    #: How often the rule fires at most; None for no limit.
    count: int | None = None
    #: Seconds in the `retry-after` header of a `429`.
    retry_after: int = _RETRY_AFTER
    #: Milliseconds that a `latency` rule adds.
    latency_ms: int = 0
    #: HTTP status and error code of a `refused`; of a `page`, the status.
    status: int = 400
    code: int = 0
    #: Seed of the dice, so that they fall the same way in each run.
    seed: int | None = None
    fired: int = 0
    dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def fires(self) -> bool:
        """Throw the dice once; return whether the rule fires."""
        spent = self.count is not None and self.fired >= self.count
        if spent or self.dice.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def as_json(self) -> Json:
        """Return the rule as the control API takes it, and how often it fired."""
        return {name: getattr(self, name) for name in ("route", "kind", *_NUMBERS, "fired")}


def parse_rule(document: Json, routes: frozenset[str]) -> Rule:
    """Return the rule that JSON describes. Error: ValueError, saying what does not fit."""
    if not isinstance(document, Mapping):
        raise ValueError("a rule is not an object")
    known = {"route", "kind", *_NUMBERS}
    if unknown := set(document) - known - {"fired"}:
        raise ValueError(f"a rule has no {sorted(unknown)[0]!r}: it has {', '.join(sorted(known))}")
    route, kind = document.get("route", "*"), str(document.get("kind"))
    if route != "*" and route not in routes:
        raise ValueError(f"there is no route {route!r}: there are *, {', '.join(sorted(routes))}")
    if kind not in KINDS:
        raise ValueError(f"there is no fault {kind!r}: there are {', '.join(KINDS)}")
    numbers = {name: document[name] for name in _NUMBERS if document.get(name) is not None}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"{name} is {value!r}: want a number, 0 or more")
    return Rule(route, kind, **numbers)


@dataclass(frozen=True)
class Verdict:
    """The decision of all rules for one call."""

    latency_ms: int
    #: The rule that decides the response; None for the usual one.
    answer: Rule | None
    #: The dice that shuffle a pull; None to keep the order.
    shuffle: random.Random | None


class Faults:
    """Holds the rules in force, and applies them to each call."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules in force, in the order in which they are applied."""
        return self._rules

    def set(self, rules: Sequence[Rule]) -> None:
        """Put these rules in force, and no others."""
        self._rules = list(rules)

    def judge(self, route: str) -> Verdict:
        """Throw the dice of all rules of a route, and return what they decide."""
        latency_ms, answer, shuffle = 0, None, None
        for rule in self._on(route):
            if rule.kind == "duplicate" or (rule.kind in ANSWERS and answer):
                continue
            if not rule.fires():
                continue
            if rule.kind == "latency":
                latency_ms += rule.latency_ms
            elif rule.kind == "reorder":
                shuffle = rule.dice
            else:
                answer = rule
        return Verdict(latency_ms, answer, shuffle)

    def duplicates(self, message_ids: Sequence[str]) -> Sequence[str]:
        """Return the messages of a pull that are delivered once more."""
        rules = [rule for rule in self._on("pull") if rule.kind == "duplicate"]
        return [each for each in message_ids if any(rule.fires() for rule in rules)]

    def _on(self, route: str) -> Sequence[Rule]:
        return [rule for rule in self._rules if rule.route in ("*", route)]
