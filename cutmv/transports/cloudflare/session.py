"""What all connections of a process to one account share, and the one place that holds it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time

from cutmv.transports.cloudflare import celery_worker
from cutmv.transports.cloudflare.api.client import Client
from cutmv.transports.cloudflare.edge.client import Sender
from cutmv.transports.cloudflare.edge.hub_client import Hub
from cutmv.transports.cloudflare.edge.push_server import Ingress
from cutmv.transports.cloudflare.errors import CloudflareError, Unreachable
from cutmv.transports.cloudflare.fanout.broadcaster import Broadcaster
from cutmv.transports.cloudflare.fanout.memory import LocalBroker
from cutmv.transports.cloudflare.fanout.temporary_queues import Mailboxes
from cutmv.transports.cloudflare.leases.acknowledger import Settler, Settles
from cutmv.transports.cloudflare.leases.ledger import open_ledger
from cutmv.transports.cloudflare.leases.renewer import Keeper
from cutmv.transports.cloudflare.messages.claim_check import LargeMessages
from cutmv.transports.cloudflare.options import (
    MAX_VISIBILITY_TIMEOUT,
    VISIBILITY_TIMEOUT,
    Credentials,
    Options,
)
from cutmv.transports.cloudflare.producer.group_commit import Publisher
from cutmv.transports.cloudflare.queues.binding_table import Routes
from cutmv.transports.cloudflare.queues.bindings import Address
from cutmv.transports.cloudflare.queues.directory import QueueDirectory
from cutmv.transports.cloudflare.queues.names import Named

logger = logging.getLogger(__name__)

#: Seconds that the end of the process waits for the last acks.
EXIT_TIMEOUT = 2.0

#: Seconds for which a failure to connect is believed.
BELIEVE_FAILURE = 2.0


class Session:
    """One HTTP pool, rate budget, queue list, set of publishers, settler and broadcaster.

    Sessions are got from `acquire` and given back to `release`, which closes the last user's.
    """

    def __init__(self, credentials: Credentials, options: Options) -> None:
        self.pid = os.getpid()
        self.credentials = credentials
        self.options = options
        self.client = Client(credentials, options)
        self.hub: Hub | None = None
        if options.edge_url and options.fanout:
            self.hub = Hub(options.edge_url, options.edge_keys, options.queue_name_prefix)
        self.sender = Sender(self.client, options, self.hub)
        self.queues = QueueDirectory(self.client, options)
        self.routes = Routes(self.queues, options)
        self.large = LargeMessages(options, credentials.account_id)
        self.settler = Settler(self.client, options.ack_linger, self.large.discard)
        self.keeper: Keeper | None = None
        if options.lease_ledger:
            self.keeper = Keeper(
                lambda: open_ledger(options.lease_ledger, credentials.account_id),
                self.settler,
                options.visibility_timeout or VISIBILITY_TIMEOUT,
            )
        self.leases: Settles = self.keeper or self.settler
        self._lease_seconds: float | None = None
        self.local = LocalBroker()
        self.mailboxes = Mailboxes(
            self.client,
            self.queues,
            self.settler,
            self.local,
            self.large,
            options=options,
            hub=self.hub,
            on_message=self._heard,
        )
        self.broadcaster = Broadcaster(
            self.client, self.queues, self.mailboxes, self.large, options=options, hub=self.hub
        )
        self.ingress = Ingress(options.edge_keys, options.ingress_host, options.ingress_port)
        self._lock = threading.Lock()
        self._publishers: dict[Named | Address, Publisher] = {}

    def publisher(self, name: Named | Address) -> Publisher:
        """Return the one publisher of this process to queue `name`."""
        with self._lock:
            publisher = self._publishers.get(name)
            if publisher is None:
                publisher = self._publishers[name] = Publisher(
                    name, self.sender, self.queues, self.options
                )
            return publisher

    def start_settling(self) -> None:
        """Start the threads that end leases; raises as `ledger.open_ledger` does."""
        self.settler.start()
        if self.keeper is not None:
            self.keeper.start()

    def start_consuming(self) -> float:
        """Start the threads that end leases, and return the seconds of a pull's lease.

        Raises as `ledger.open_ledger` does.
        """
        self.start_settling()
        if self.keeper is not None:
            return self.keeper.seconds
        if self._lease_seconds is None:
            self._lease_seconds = self.options.visibility_timeout or _without_ledger()
        return self._lease_seconds

    def flush(self, timeout: float) -> None:
        """Wait until all leases that were ended are."""
        deadline = time.monotonic() + timeout
        if self.keeper is not None:
            self.keeper.flush(timeout)
        self.settler.flush(max(0.0, deadline - time.monotonic()))

    def close(self, timeout: float) -> None:
        """Send what waits, hand in the last acks, end every thread, close the pool.

        Each of these may take `timeout` seconds.
        """
        self.mailboxes.close()
        self.broadcaster.close(timeout)
        if self.hub is not None:
            self.hub.close(timeout)
        if self.keeper is not None:
            self.keeper.close(timeout)
        self.settler.close(timeout)
        self.ingress.close(timeout)
        self.large.close(timeout)
        self.sender.close()
        self.client.close()

    def _heard(self) -> None:
        self.broadcaster.look_again()


def _without_ledger() -> float:
    """Return the seconds of a lease that nothing renews, and say what that costs."""
    hold = celery_worker.longest_hold()
    seconds = min(hold or MAX_VISIBILITY_TIMEOUT, MAX_VISIBILITY_TIMEOUT)
    why = "by the tasks' hard time limit" if hold else "since the tasks have no hard time limit"
    logger.warning(
        "cloudflare: no lease_ledger is set, so a message is leased for %.0f s, %s: what a crashed "
        "worker holds runs elsewhere only after that. Set the transport option lease_ledger to "
        "have it run within minutes.",
        seconds,
        why,
    )
    return seconds


_Key = tuple[Credentials, Options]

_lock = threading.Lock()
_sessions: dict[_Key, Session] = {}
_users: dict[_Key, int] = {}
_failures: dict[_Key, tuple[float, CloudflareError]] = {}


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


def release(session: Session) -> None:
    """Give a session back; the last to do so closes it."""
    key = (session.credentials, session.options)
    with _lock:
        if _sessions.get(key) is not session:
            return  # a parent process's, or already closed at exit
        _users[key] -= 1
        if _users[key]:
            return
        del _sessions[key], _users[key]
    session.close(session.options.close_timeout)


def verify(session: Session, deadline: float) -> None:
    """Make sure that the account answers; raises a `CloudflareError` where it does not.

    A failure of the last moments is raised again without asking: kombu makes up to eight
    attempts to connect for a single publish, and its caller is to hear of a dead network in
    the time of one.
    """
    if session.queues.verified:
        return
    key = (session.credentials, session.options)
    with _lock:
        failed_at, failure = _failures.get(key, (0.0, None))
    if failure is not None and time.monotonic() - failed_at < BELIEVE_FAILURE:
        raise failure.again()
    try:
        try:
            session.queues.verify(deadline)
        except Unreachable:
            # One lost answer is everyday life; of a dead network, asking again tells as soon.
            session.queues.verify(deadline)
    except CloudflareError as error:
        with _lock:
            _failures[key] = (time.monotonic(), error.again())
        raise
    with _lock:
        _failures.pop(key, None)


def _forget_parents() -> None:
    """Start a forked child with nothing: threads do not survive a fork, and sockets are not ours.

    The parent's sessions are kept, unused, so that nothing of theirs runs at collection.
    """
    global _lock, _sessions, _users, _failures
    _inherited.append(_sessions)
    _lock, _sessions, _users, _failures = threading.Lock(), {}, {}, {}


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
