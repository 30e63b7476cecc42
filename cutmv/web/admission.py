"""Admission: how many requests of each kind are served at once, in all and of one client.

A request that may take long holds a thread of the server for as long as its client likes. So each
such kind has a share of the threads, and each client a part of that share. What is beyond is
refused at once, so that threads are left for requests that are short, `/healthz` among them. A
WebSocket holds no thread, but an open file and memory, for as long as it is open.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Flask, Response, g, request

from cutmv.config import Limits
from cutmv.web.api.problems import Problem
from cutmv.web.clients import client_key, quota
from cutmv.web.files import most_sockets
from cutmv.web.live import Upgrade
from cutmv.web.state import web_of

#: The name under which Flask keeps what is being served.
EXTENSION = "cutmv-admission"
#: Seconds after which a client that was refused may ask again.
RETRY_AFTER_S = 5
#: Clients whose requests are counted; of more, those that were away longest are forgotten.
MAX_COUNTED = 10_000
#: Seconds for which the rest of a refused upload is read, and bytes read at a time. Most programs
#: send all of a body before they look for an answer, and would find a broken pipe in its place.
READ_ON_S, READ_ON_BYTES = 30.0, 256 * 1024
#: Routes that are never refused: they say whether the server is well.
ALWAYS = ("health.healthz", "health.metrics")
#: Routes whose bodies are files, or parts of them.
UPLOADING = ("uploads.create", "multipart.put")
#: Open routes whose answers are too large for what the system keeps of a client that takes nothing.
LARGE_PAGES = ("api_page.file", "openapi.document")
#: Routes whose answers are files.
DOWNLOADS = (
    "uploads.content",
    "proxies.content",
    "jobs.output",
    "jobs.archive",
    "shared.output",
    "shared.archive",
)


@dataclass(frozen=True)
class Kind:
    """A kind of request, by the name of its limit, and how many are served at once."""

    name: str
    most: int


#: Large pages at once, and the part of all that one client has of these and of other bodies.
PAGES, PART = 16, 4

#: What people read of each kind.
WORDS = {
    "sockets": "WebSockets",
    "uploads": "uploads",
    "downloads": "downloads",
    "bodies": "requests with a body",
    "pages": "pages",
}


def threads_for(limits: Limits) -> int:
    """Threads of the server: those of all kinds that may be long, and some for the others."""
    long = limits.all_uploads + limits.all_downloads + limits.all_bodies + PAGES
    return long + limits.short_requests


class Admission:
    """Counts what is being served. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: Counter[str] = Counter()
        self._of_client: Counter[tuple[str, str]] = Counter()

    def enter(self, kind: Kind, client: str, of_client: int) -> None:
        """Admit a request, one of `of_client` of its client at most.

        Raises Problem 403 where the client may have none, 429 where it has enough, 503 where all
        have.
        """
        with self._lock:
            told = WORDS[kind.name]
            if not of_client:
                raise Problem(403, f"You may have no {told}: an administrator has set that.")
            if self._of_client.get((kind.name, client), 0) >= of_client:
                told = f"You have {of_client} {told} at once already, the limit."
                raise Problem(429, told, retry_after_s=RETRY_AFTER_S)
            self.require_room(kind)
            self._all[kind.name] += 1
            self._of_client[kind.name, client] += 1

    def require_room(self, kind: Kind) -> None:
        """Raise Problem 503 where all clients together have enough."""
        if self.is_full(kind):
            told = f"The server has as many {WORDS[kind.name]} at once as it can. Try again soon."
            raise Problem(503, told, retry_after_s=RETRY_AFTER_S)

    def is_full(self, kind: Kind) -> bool:
        """Whether all clients together have enough."""
        return self._all[kind.name] >= kind.most

    def leave(self, kind: Kind, client: str) -> None:
        """Note that an admitted request has ended."""
        with self._lock:
            self._all[kind.name] -= 1
            self._of_client[kind.name, client] -= 1
            if not self._of_client[kind.name, client]:
                del self._of_client[kind.name, client]


class Rate:
    """Requests of each client in a minute, by a bucket that is filled as time goes by."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: What is left of each client's, and when that was; who asked last is last.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, a_minute: int) -> None:
        """Count a request. Raises Problem 429 where there are more than `a_minute`."""
        now = time.monotonic()
        with self._lock:
            left, since = self._left.pop(client, (float(a_minute), now))
            left = min(a_minute, left + (now - since) * a_minute / 60) - 1
            self._left[client] = (max(left, 0.0), now)
            if len(self._left) > MAX_COUNTED:
                self._left.popitem(last=False)
        if left < 0:
            told = f"You make more than {a_minute} requests a minute, the limit."
            raise Problem(429, told, retry_after_s=max(1, round(60 / a_minute)))


def register(app: Flask) -> Callable[[], None]:
    """Refuse requests of a kind of which all clients have enough, and note the end of each request.

    Returns what admits a request, to be called once it is known who asks. To be refused before that
    costs no look into the database.
    """
    admission = app.extensions[EXTENSION] = Admission()
    rate = Rate()
    limits = web_of(app).services.settings.limits
    uploads = Kind("uploads", limits.all_uploads)
    downloads = Kind("downloads", limits.all_downloads)
    sockets, pages = Kind("sockets", most_sockets(limits.all_sockets)), Kind("pages", PAGES)
    bodies = Kind("bodies", limits.all_bodies)

    def kind_of() -> Kind | None:
        rule = request.url_rule
        if rule is not None and rule.websocket:
            return sockets
        if request.endpoint in UPLOADING:
            return uploads
        if request.endpoint in DOWNLOADS and request.method == "GET":
            return downloads
        if request.endpoint in LARGE_PAGES:
            return pages
        return bodies if _has_body() else None

    def refuse_early() -> None:
        kind = kind_of()
        if kind and request.endpoint not in ALWAYS:
            with _refusing():
                admission.require_room(kind)

    def admit() -> None:
        if request.endpoint in ALWAYS:
            return
        client, kind = client_key(), kind_of()
        with _refusing():
            rate.take(client, quota("requests"))
            if kind:
                of_all = kind in (bodies, pages)
                most = max(1, kind.most // PART) if of_all else quota(kind.name)
                admission.enter(kind, client, most)
        if kind:
            g.leave = _once(lambda: admission.leave(kind, client))

    def leave_with(response: Response) -> Response:
        if "leave" in g:
            leave = g.pop("leave")
            if isinstance(response, Upgrade):
                response.at_end(leave)
            else:
                if kind_of() is uploads and response.status_code >= 400:
                    response.call_on_close(partial(_read_on, request.environ))
                response.call_on_close(leave)
        return response

    def leave_anyhow(_error: BaseException | None) -> None:
        if "leave" in g:  # no response could be made
            g.pop("leave")()

    app.before_request(refuse_early)
    app.after_request(leave_with)
    app.teardown_request(leave_anyhow)
    return admit


@contextmanager
def _refusing() -> Iterator[None]:
    """What is refused in here has no body that would be waited for: its connection ends."""
    try:
        yield
    except Problem:
        if "gunicorn.socket" in request.environ and _has_body():
            request.environ["gunicorn.socket"].refused = True
        raise


def _has_body() -> bool:
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def _read_on(environ: Mapping[str, Any]) -> None:
    """Drop what a client sends of a body that was refused: it reads the answer after that."""
    connection = environ.get("gunicorn.socket")
    if connection is None or connection.too_slow:
        return
    connection.begin()
    until = time.monotonic() + READ_ON_S
    with suppress(OSError, ValueError):
        while time.monotonic() < until and environ["wsgi.input"].read(READ_ON_BYTES):
            pass


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """Return what makes a call the first time alone."""
    calls = [call]
    return lambda: calls.pop()() if calls else None
