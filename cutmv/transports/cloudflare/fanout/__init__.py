"""Exchanges, and the temporary queues that are bound to them: remote control, events, replies.

`memory` holds a process's temporary queues, `temporary_queues` lets other processes reach them, and
`binding_poller` pulls the messages that these send. `remote_queues` knows the temporary queues of
other processes, and `broadcaster` publishes to them: `commands` chooses to whom, `events` sends
Celery's events, packed by `bundle`, at the `pace` that all processes can afford, with `heartbeats`
that say so. `reaper` deletes the binding queues of dead processes. Imports `edge`, `leases`,
`queues`, `messages` and `api`.
"""

from cutmv.transports.cloudflare.fanout.binding_poller import FanoutServices
from cutmv.transports.cloudflare.fanout.broadcaster import Broadcaster
from cutmv.transports.cloudflare.fanout.commands import BINDINGS
from cutmv.transports.cloudflare.fanout.memory import MemoryBroker, TableRow
from cutmv.transports.cloudflare.fanout.pace import CONTROL_SUFFIX
from cutmv.transports.cloudflare.fanout.reaper import UNREAD_AFTER
from cutmv.transports.cloudflare.fanout.temporary_queues import TemporaryQueues

__all__ = [
    "BINDINGS",
    "CONTROL_SUFFIX",
    "UNREAD_AFTER",
    "Broadcaster",
    "FanoutServices",
    "MemoryBroker",
    "TableRow",
    "TemporaryQueues",
]
