"""What a person does to an account's queues; the transport itself needs none of it.

`inspect` shows queues and their messages and removes them, `replay` moves dead letters back,
`orphans` finds what crashed processes left. Imports `session` and what is below it.
"""

from cutmv.transports.cloudflare.admin.inspect import (
    MAX_PEEK,
    DeadLetterListing,
    Overview,
    Waiting,
    dead_letters,
    deadline,
    find,
    opened,
    overviews,
    peek,
    purge,
    remove,
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
    "DeadLetterListing",
    "Orphan",
    "Overview",
    "Replay",
    "Search",
    "Session",
    "Waiting",
    "dead_letters",
    "deadline",
    "delete_orphans",
    "find",
    "opened",
    "overviews",
    "peek",
    "purge",
    "remove",
    "replay_dead_letters",
    "search_orphans",
    "why_dead",
]
