"""The items of a plan: what a deployment needs of its account, compared with what it has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Settings of a queue, a consumer or a bucket, by the names that the API has for them.
ApiSettings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that must change; `old` is None where it is not set."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Fine:
    """An item that is as the deployment needs it."""

    what: str
    found: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """An item that must be added or changed.

    `apply` does it, may be called again after an interruption, and returns a line for people about
    a part that Cloudflare refused, else None.
    """

    action: Literal["add", "change"]
    what: str
    differences: tuple[Difference, ...]
    apply: Callable[[], str | None] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """An item that only a person may change: why, and what to do.

    `blocks` says that the deployment does not work before that is done.
    """

    what: str
    why: str
    advice: str
    blocks: bool = False


Item = Fine | Change | LeftAlone


def compared(
    what: str, have: ApiSettings | None, want: ApiSettings, apply: Callable[[], str | None]
) -> Fine | Change:
    """Compare an item's settings; `have` is None where the item does not exist."""
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
    """A setting's value in words for people."""
    if value is None or value == "":
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
