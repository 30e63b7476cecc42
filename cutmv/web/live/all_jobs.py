"""The WebSocket of a page: the list of one's jobs, and one of them in detail, as they change.

It begins with what there is, or goes on where an earlier one was; then come the journal's entries.
The page says by a message which job it shows.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from flask import json
from simple_websocket import Server

from cutmv.database import DATABASE_AWAY, passes
from cutmv.progress import News, Position, View
from cutmv.web.state import web

#: Seconds between two looks at what the client wants, and of silence until it is sent a tick.
LOOK_S, TICK_S = 0.25, 10.0
#: Seconds before another try while the database is away.
AWAY_S = 2.0
#: Characters of the longest id that is looked up, and digits of a number.
MAX_ID_CHARS, MAX_DIGITS = 64, 15


def position(told: Mapping[str, str]) -> Position | None:
    """Where an earlier WebSocket of the page was, by the query of this one."""
    epoch, seq = told.get("epoch", ""), told.get("seq", "")
    known = epoch and seq.isascii() and seq.isdecimal() and len(seq) <= MAX_DIGITS
    return Position(epoch, int(seq)) if known else None


def send_all(client: Server, view: View, at: Position | None, still_in: Callable[[], bool]) -> None:
    """Send what a view shows until the client ends, or may see no more."""
    here = web()
    news: News | None = None
    sent_at = time.monotonic()
    while client.connected and still_in() and not here.stopping.is_set():
        try:
            wanted = _wanted(client, view)
            if news is None:
                view, news = wanted, here.live.open(wanted, at)
            elif wanted != view:
                news, view = here.live.turn(view, wanted, news.seq), wanted
            else:
                news = here.live.wait(view, news.seq, LOOK_S)
        except DATABASE_AWAY as error:
            if not passes(error):
                raise
            here.stopping.wait(AWAY_S)
            continue
        at = None  # who has missed something begins anew
        texts = news.texts if news else []
        if not texts and time.monotonic() - sent_at >= TICK_S:
            texts = [json.dumps({"type": "ping"})]
        for text in texts:
            client.send(text)
            sent_at = time.monotonic()


def _wanted(client: Server, view: View) -> View:
    """The view that the client's last message asks for; what is no such message is dropped."""
    asked = view
    while (text := client.receive(timeout=0)) is not None:
        try:
            watched = json.loads(text)["watch"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if watched is None or (isinstance(watched, str) and len(watched) <= MAX_ID_CHARS):
            asked = replace(view, watched=watched)
    return asked
