"""The web process of the stranger's app: sends tasks of all kinds, a group at a time.

`python -m tests.soak.stranger_web SECONDS TASKS SEED` sends so many in that time, and notes each
beside what tasks note.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from celery import chord, group

from tests.soak import stranger as tasks

#: Tasks of a group: what Celery sends together, the transport sends by a few calls.
GROUP = ("early", "early", "late", "late", "late", "eta", "eta", "priority", "priority")
GROUP = (*GROUP, "topic", "topic", "topic", "retry")
#: Parts of the chord that goes with each group.
PARTS = (3, 7)


def main(seconds: float, count: int, dice: random.Random) -> None:
    """Send groups at an even pace, for so long."""
    began, sent = time.monotonic(), 0
    while sent < count:
        for kinds in (send_group(dice), send_chord(dice)):
            sent += len(kinds)
            with Path(os.environ["TRANSPORT_LOG"]).open("ab", buffering=0) as log:
                lines = [json.dumps({"event": "sent", **kind}) + "\n" for kind in kinds]
                log.write("".join(lines).encode())
        time.sleep(max(0.0, began + sent * seconds / count - time.monotonic()))


def send_group(dice: random.Random) -> list[dict[str, Any]]:
    """Send one task of each kind in `GROUP`."""
    members, told = [], []
    for kind in GROUP:
        seconds = dice.uniform(0, 0.2)
        more = {"failures": dice.randint(1, 2)} if kind == "retry" else {}
        members.append(signature(kind, seconds, dice, more))
        told.append({"kind": kind, **more})
    result = group(members).apply_async()
    return [{"id": each.id, **more} for each, more in zip(result.children, told, strict=True)]


def signature(kind: str, seconds: float, dice: random.Random, more: dict[str, int]) -> Any:
    match kind:
        case "eta":
            return tasks.early.s(seconds).set(countdown=dice.uniform(1, 8))
        case "retry":
            return tasks.retry.s(seconds, more["failures"])
        case "topic":
            to_both = {"exchange": tasks.news, "routing_key": "news.x", "declare": [tasks.news]}
            return tasks.late.s(seconds).set(**to_both)
        case "priority":
            return tasks.late.s(seconds).set(priority=5)
        case _:
            return getattr(tasks, kind).s(seconds)


def send_chord(dice: random.Random) -> list[dict[str, Any]]:
    """Send a chord."""
    numbers = range(dice.randint(*PARTS))
    result = chord([tasks.part.s(number) for number in numbers])(tasks.total.s())
    parts = [each.id for each in result.parent.children]
    told: list[dict[str, Any]] = [{"id": each, "kind": "part"} for each in parts]
    return [*told, {"id": result.id, "kind": "total", "total": sum(numbers), "parts": parts}]


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3]))
