"""Counts what Cloudflare bills: operations that write, read and delete messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cutmv.transports.cloudflare.api.responses import Pulled
from cutmv.transports.cloudflare.shared_counts import SharedCounts

#: Bytes of a message that one operation covers, and those that Cloudflare adds to each message.
OPERATION_BYTES, METADATA_BYTES = 64_000, 100

#: The metered calls, and the billed operations, of this process and of those that it forks.
_counts = SharedCounts("calls", "writes", "reads", "deletes")


def called(count: int) -> None:
    """Count calls that the account's limit counts."""
    _counts.add("calls", count)


def wrote(texts: Iterable[str]) -> None:
    """Count messages that were put into a queue."""
    _counts.add("writes", sum(map(_operations, texts)))


def read(entries: Iterable[Mapping[str, Any]]) -> None:
    """Count messages that came from a queue; a pull that gets none is billed as well."""
    _counts.add("reads", sum(_operations(str(each.get("body"))) for each in entries) or 1)


def deleted(count: int) -> None:
    """Count messages that were acked, or removed: one operation each, since nobody has the size."""
    _counts.add("deletes", count)


def note(path: str, body: Mapping[str, Any] | None, answer: object) -> None:
    """Count what one call of the REST API did, by its path."""
    match path.rpartition("/messages/")[2], answer:
        case "batch", _:
            wrote(str(each["body"]) for each in (body or {})["messages"])
        case "pull", Pulled(messages):
            read(messages)
        case "ack", dict(warnings):
            deleted(sum(each["lease_id"] not in warnings for each in (body or {})["acks"]))
        case "purge", dict(warnings):
            deleted(sum(each["ref"] not in warnings for each in (body or {})["refs"]))


def operations_report() -> dict[str, int]:
    """Return the metered ``calls`` and the billed ``writes``, ``reads`` and ``deletes``.

    Those of this process, and of those that it forked, since its start; of large messages the
    deletes are counted too low.
    """
    return _counts.report()


def _operations(text: str) -> int:
    return -(-(len(text.encode(errors="replace")) + METADATA_BYTES) // OPERATION_BYTES)
