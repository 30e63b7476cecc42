"""An operator's commands on an account's queues; the transport itself does not need them.

`inspect` shows queues and their messages and removes messages, `replay` moves dead letters back,
`orphans` finds the binding queues of crashed processes, and `edge` asks the edge Worker. Imports
`session` and the packages below it.
"""

from cutmv.transports.cloudflare.admin.edge import Container, EdgeStatus, edge_status
from cutmv.transports.cloudflare.admin.inspect import (
    MAX_PEEK,
    DeadLetterListing,
    Overview,
    Removed,
    Waiting,
    dead_letters,
    deadline,
    find,
    opened,
    overviews,
    pause,
    peek,
    purge,
    remove,
    session_of,
    why_dead,
)
from cutmv.transports.cloudflare.admin.orphans import (
    Orphan,
    Search,
    delete_orphans,
    search_orphans,
)
from cutmv.transports.cloudflare.admin.replay import Replay, replay_dead_letters
from cutmv.transports.cloudflare.session import Session

__all__ = [
    "MAX_PEEK",
    "Container",
    "DeadLetterListing",
    "EdgeStatus",
    "Orphan",
    "Overview",
    "Removed",
    "Replay",
    "Search",
    "Session",
    "Waiting",
    "dead_letters",
    "deadline",
    "delete_orphans",
    "edge_status",
    "find",
    "opened",
    "overviews",
    "pause",
    "peek",
    "purge",
    "remove",
    "replay_dead_letters",
    "search_orphans",
    "session_of",
    "why_dead",
]
