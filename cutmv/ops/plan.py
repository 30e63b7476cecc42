"""What a deployment needs of its account, item by item, beside what is there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Settings by the names that the API has for them.
Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not as it is needed; `old` is None where it is not there."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Fine:
    """What is as it is needed."""

    what: str
    found: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be made, or changed.

    `apply` does it, may be called again after an interruption, and returns what Cloudflare would
    not have, for a person to read.
    """

    action: Literal["add", "change"]
    what: str
    differences: tuple[Difference, ...]
    apply: Callable[[], str | None] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """What nobody may change but a person: why, and what to do.

    It `blocks` where the deployment does not work before that is done.
    """

    what: str
    why: str
    advice: str
    blocks: bool = False


Item = Fine | Change | LeftAlone


def compared(
    what: str, have: Settings | None, want: Settings, apply: Callable[[], str | None]
) -> Fine | Change:
    """Return what is to be done so that `want` holds; `have` is None where nothing is there."""
    if have is None:
        added = tuple(Difference(name, None, value) for name, value in want.items())
        return Change("add", what, added, apply)
    differences = tuple(
        Difference(name, have.get(name), value)
        for name, value in want.items()
        if have.get(name) != value
    )
    if differences:
        return Change("change", what, differences, apply)
    return Fine(what, ", ".join(f"{name} {show(value)}" for name, value in want.items()))


def show(value: Any) -> str:
    """Write a setting's value as a person reads it."""
    if value is None or value == "":
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
