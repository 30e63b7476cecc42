"""What all connections of a process to one account share, and the one place that holds it."""

from __future__ import annotations

import atexit
import os
import threading

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.fanout import LocalBroker
from cutmv.transports.cloudflare.leases import Settler
from cutmv.transports.cloudflare.options import Credentials, Options
from cutmv.transports.cloudflare.publisher import Publisher
from cutmv.transports.cloudflare.queues import QueueDirectory

#: Seconds that the end of the process waits for the last acks.
EXIT_TIMEOUT = 2.0


class Session:
    """One HTTP pool, rate budget, queue list, set of publishers and settler.

    Sessions are got from `acquire` and given back to `release`, which closes the last user's.
    """

    def __init__(self, credentials: Credentials, options: Options) -> None:
        self.pid = os.getpid()
        self.options = options
        self.client = Client(credentials, options)
        self.queues = QueueDirectory(self.client, options)
        self.settler = Settler(self.client, options.ack_linger)
        self.local = LocalBroker()
        self._lock = threading.Lock()
        self._publishers: dict[str, Publisher] = {}

    def publisher(self, name: str) -> Publisher:
        """Return the one publisher of this process to queue `name`."""
        with self._lock:
            publisher = self._publishers.get(name)
            if publisher is None:
                publisher = self._publishers[name] = Publisher(
                    name, self.client, self.queues, self.options
                )
            return publisher

    def close(self, timeout: float) -> None:
        """Hand in the last acks within `timeout` seconds, end the thread, close the pool."""
        self.settler.close(timeout)
        self.client.close()


_Key = tuple[Credentials, Options]

_lock = threading.Lock()
_sessions: dict[_Key, Session] = {}
_users: dict[_Key, int] = {}


def acquire(credentials: Credentials, options: Options) -> Session:
    """Return this process's session for these; to be given back with `release`."""
    key = (credentials, options)
    with _lock:
        session = _sessions.get(key)
        if session is None:
            session = _sessions[key] = Session(credentials, options)
            _users[key] = 0
        _users[key] += 1
        return session


def release(credentials: Credentials, session: Session) -> None:
    """Give a session back; the last to do so closes it."""
    key = (credentials, session.options)
    with _lock:
        if _sessions.get(key) is not session:
            return  # a parent process's, or already closed at exit
        _users[key] -= 1
        if _users[key]:
            return
        del _sessions[key], _users[key]
    session.close(session.options.close_timeout)


def _forget_parents() -> None:
    """Start a forked child with nothing: threads do not survive a fork, and sockets are not ours.

    The parent's sessions are kept, unused, so that nothing of theirs runs at collection.
    """
    global _lock, _sessions, _users
    _inherited.append(_sessions)
    _lock, _sessions, _users = threading.Lock(), {}, {}


def _close_all() -> None:
    with _lock:
        sessions = list(_sessions.values())
        _sessions.clear()
        _users.clear()
    for session in sessions:
        session.close(EXIT_TIMEOUT)


_inherited: list[dict[_Key, Session]] = []
os.register_at_fork(after_in_child=_forget_parents)
atexit.register(_close_all)
