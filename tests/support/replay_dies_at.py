"""Run `cutmv queues replay`, and die by SIGKILL at a named line of it.

python -m tests.support.replay_dies_at POINT QUEUE, where POINT is one of POINTS.
"""

from __future__ import annotations

import sys

from cutmv.cli import main as cutmv
from cutmv.transports.cloudflare.admin import replay
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.leases import Acknowledger
from cutmv.transports.cloudflare.producer.group_commit import Publisher
from tests.support.die_at import deadly

#: After each of these the process is gone: `(class, "method")` and whether the call is made.
POINTS: dict[str, tuple[type, str, bool]] = {
    "before the pull": (Client, "pull", False),
    "after the pull": (Client, "pull", True),
    "before the publish": (Publisher, "publish", False),
    "after the publish": (Publisher, "publish", True),
    "before the ack": (Client, "end_leases", False),
    "at the first ack handed over": (Acknowledger, "ack", True),
    "after the ack": (Client, "end_leases", True),
}


def main() -> None:
    """Replace the named method by one that ends this process, and replay."""
    point, queue = sys.argv[1:]
    replay.LEASE_SECONDS = 1.0  # so that nobody has to wait for what the dead process holds
    owner, name, call_it = POINTS[point]
    setattr(owner, name, deadly(getattr(owner, name), call_it))
    cutmv(["queues", "replay", queue])


if __name__ == "__main__":
    main()
