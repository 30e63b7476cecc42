"""Counts the progress events that are lost on their way; who watches sees the job store then."""

from cutmv.transports.cloudflare import SharedCounts

_counts = SharedCounts("dropped")


def drop(events: int) -> None:
    """Count events that nobody will get."""
    _counts.add("dropped", events)


def dropped_events() -> int:
    """How many were lost of this process's, and of those that it forked, since its start."""
    return _counts.report()["dropped"]
