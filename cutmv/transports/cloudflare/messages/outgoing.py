"""A message on its way to its queue."""

from __future__ import annotations

from dataclasses import dataclass, field

from cutmv.transports.cloudflare.messages.limits import size


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message's text, made by `ClaimChecks.fit`, and when it is due (seconds since 1970).

    Errors call it `name`, and Cloudflare counts `size` bytes for it.
    """

    text: str
    due: float | None = None
    name: str = ""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        """Compute the size, once."""
        object.__setattr__(self, "size", size(self.text))
