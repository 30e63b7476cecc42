"""Exchanges, and the temporary queues that are bound to them: remote control, events, replies.

`memory` holds a process's temporary queues, `temporary_queues` lets other processes reach them, and
`binding_poller` pulls the messages that these send. `remote_queues` knows the temporary queues of
other processes, `broadcaster` publishes to them, and `reaper` deletes the binding queues of dead
processes. Imports `edge`, `leases`, `queues`, `messages` and `api`.
"""

from cutmv.transports.cloudflare.fanout.binding_poller import FanoutServices
from cutmv.transports.cloudflare.fanout.broadcaster import Broadcaster
from cutmv.transports.cloudflare.fanout.memory import MemoryBroker, TableRow
from cutmv.transports.cloudflare.fanout.reaper import UNREAD_AFTER
from cutmv.transports.cloudflare.fanout.temporary_queues import TemporaryQueues

__all__ = [
    "UNREAD_AFTER",
    "Broadcaster",
    "FanoutServices",
    "MemoryBroker",
    "TableRow",
    "TemporaryQueues",
]
