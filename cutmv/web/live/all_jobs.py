"""The WebSocket of a page: the list of one's jobs, and one of them in detail, as they change.

It begins with what there is, or goes on where an earlier one was; then come the journal's entries.
The page says by a message which job it shows.
"""

from collections.abc import Mapping
from functools import partial

from flask import json, request

from cutmv.progress import Position, View, Watcher
from cutmv.web.access import person
from cutmv.web.live.upgrade import Upgrade
from cutmv.web.live.watching import watching
from cutmv.web.sockets import Act
from cutmv.web.state import web

#: Characters of the longest id that is looked up, and digits of a number.
MAX_ID_CHARS, MAX_DIGITS = 64, 15


def watch_all() -> Upgrade:
    """Follow one's jobs, and one of them in detail."""
    live = web().live
    view = View(person().sees, request.args.get("watch", "")[:MAX_ID_CHARS] or None)
    at = position(request.args)

    def heed(text: str, watcher: Watcher) -> Act | None:
        wanted = _wanted(text)
        return partial(live.turn, watcher, *wanted) if wanted else None

    return watching(lambda watcher: live.watch(watcher, view, at), heed)


def position(told: Mapping[str, str]) -> Position | None:
    """Where an earlier WebSocket of the page was, by the query of this one."""
    epoch, seq = told.get("epoch", ""), told.get("seq", "")
    known = epoch and seq.isascii() and seq.isdecimal() and len(seq) <= MAX_DIGITS
    return Position(epoch, int(seq)) if known else None


def _wanted(text: str) -> tuple[str | None] | None:
    """The job, or none, that a message asks for; None for what is no such message."""
    try:
        watched = json.loads(text)["watch"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_id = isinstance(watched, str) and len(watched) <= MAX_ID_CHARS
    return (watched,) if watched is None or is_id else None
