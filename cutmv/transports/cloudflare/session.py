"""The session: makes and holds the objects that a process's connections to one account share.

Only the classes that kombu calls, and the commands of `admin`, know the session. The packages below
it are given the objects that they need.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from cutmv.transports.cloudflare import runtime, troubles
from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.consumer import DeadLetters, PushedMessages
from cutmv.transports.cloudflare.edge import EdgeClient, HubClient, PushServer, check_keys
from cutmv.transports.cloudflare.errors import CloudflareError, ThreadBroken
from cutmv.transports.cloudflare.fanout import (
    Broadcaster,
    FanoutServices,
    MemoryBroker,
    TemporaryQueues,
)
from cutmv.transports.cloudflare.leases import (
    Acknowledger,
    LeaseLength,
    Ledger,
    Sources,
    Unaccepted,
    choose_ledger,
    token_keys_of,
    without_ledger,
)
from cutmv.transports.cloudflare.messages import ClaimChecks
from cutmv.transports.cloudflare.options import (
    VISIBILITY_TIMEOUT,
    Options,
)
from cutmv.transports.cloudflare.producer import Publishers, Sender
from cutmv.transports.cloudflare.queues import BindingTable, QueueDirectory

logger = logging.getLogger(__name__)

#: Seconds for a call to the result backend's Redis.
REDIS_TIMEOUT = 5.0

#: Seconds that the exit of the process waits for the last acks.
EXIT_TIMEOUT = 2.0

#: Seconds for which a failure to connect is believed: longer than kombu waits to try once more.
FAILURE_BELIEVED = 2.5


class Session:
    """One HTTP pool, rate limiter, queue directory, acknowledger, broadcaster and the rest.

    `acquire` returns a session, and `release` gives it back; the last user's `release` closes it.
    """

    def __init__(self, credentials: Credentials, options: Options) -> None:
        self.pid = os.getpid()
        #: Whether a thread that all consumers need does not recover: no new user gets the session.
        self.broken = False
        #: Called then, with an error that ends a connection; each adds itself, and removes itself.
        self.on_broken: set[Callable[[Exception], object]] = set()
        self.credentials = credentials
        self.options = options
        check_keys(options)
        self.client = Client(credentials, options)
        self.hub: HubClient | None = None
        if options.edge_url and options.fanout:
            prefix, breaks = options.queue_name_prefix, self._breaks("the hub client")
            self.hub = HubClient(options.edge_url, options.edge_keys, prefix, breaks)
        self.directory = QueueDirectory(self.client, options)
        self.binding_table = BindingTable(self.directory, options)
        self.claim_checks = ClaimChecks(options, credentials.account_id)
        self._sender = Sender(self.client, options, self.hub)
        self.publishers = Publishers(self._sender, self.directory, options)
        self._ledger_name: str | None = None
        self._lease_seconds: float | None = None  # until the ledger is opened
        self.acknowledger = Acknowledger(
            self.client,
            options.ack_linger,
            self.claim_checks.discard,
            self._open_ledger,
            options.visibility_timeout or VISIBILITY_TIMEOUT,
            on_hopeless=self._breaks("the sender of acks"),
        )
        self.dead_letters = DeadLetters(
            self.client, self.directory, self.acknowledger, options.publish_timeout
        )
        self.memory = MemoryBroker()
        #: How many consumers of this process each queue has; changes hold `counting`.
        self.consumers: Counter[str] = Counter()
        self.counting = threading.Lock()
        #: Whether messages were returned that may be on their way still.
        self.returned = False
        #: The queue arguments of which the log says that they have no effect.
        self.told: set[str] = set()
        services = FanoutServices(
            self.client,
            self.directory,
            self.acknowledger,
            self.memory,
            self.claim_checks,
            options,
            self._breaks("a thread of temporary queues"),
        )
        self.temporary_queues = TemporaryQueues(services, self.hub)
        self.broadcaster = Broadcaster(services, self.temporary_queues, self.hub)
        self.pushed_messages = PushedMessages()
        self.push_server = PushServer(
            options.edge_keys,
            options.ingress_host,
            options.ingress_port,
            self.acknowledger.accept_request,
            self._breaks("the push server"),
        )

    @property
    def lease_seconds(self) -> float:
        """The seconds of a message's lease, from `Acknowledger.start_extending` on."""
        if self._lease_seconds is None:
            self._lease_seconds = self._length()
        return self._lease_seconds

    def lease_length(self, pushed: bool) -> LeaseLength:
        """Return how long a queue's messages are leased for.

        Those that are `pushed` are leased by their connection.
        """
        if pushed:
            return LeaseLength(math.inf)
        extended = self.acknowledger.has_ledger
        grows = not extended and self.options.visibility_timeout is None
        return LeaseLength(self.lease_seconds, grows=grows, extended=extended)

    def stats(self) -> dict[str, Any]:
        """Return what this process knows of its connections, for `celery inspect stats`.

        Each key is a part of the transport. The values are JSON, and hold no secret.
        """
        return {
            "threads": runtime.threads_report(),
            "events": self.broadcaster.stats(),
            "push": self.push_server.stats(),
            "publishing": self._sender.stats(),
            "queues": {"consumers": dict(self.consumers), "temporary": self.memory.sizes()},
            "leases": {
                "ledger": self._ledger_name,
                "seconds": self._lease_seconds,
                **self.acknowledger.report(),
            },
        }

    def _open_ledger(self) -> Ledger | None:
        """Open the ledger; raises as `choose_ledger` does."""
        found = choose_ledger(
            self.options, self.credentials.account_id, self._ledger_sources, self._break
        )
        if found is None:
            return None
        self._ledger_name = found.name
        return found.ledger

    def _ledger_sources(self) -> Sources:
        options = self.options
        edge = None
        if options.edge_url:
            edge = EdgeClient(options.edge_url, options.edge_keys, options.queue_name_prefix)
        return Sources(
            ask_edge=edge.ask if edge else None,
            close_edge=edge.close if edge else lambda: None,
            redis_of_results=lambda: celery_worker.redis_of_results(REDIS_TIMEOUT),
            r2_keys=lambda: token_keys_of(self.client, options),
            account_id=self.credentials.account_id,
            prefix=options.queue_name_prefix,
            environ=os.environ,
            large_messages=options.large_messages,
        )

    def _length(self) -> float:
        """Return the seconds of a lease; log them, and what they mean after a crash."""
        given = self.options.visibility_timeout
        if self.acknowledger.has_ledger:
            seconds = given or VISIBILITY_TIMEOUT
            logger.info(
                "cloudflare: messages are leased for %.0f s, and %s extends leases: what a crashed "
                "worker holds runs elsewhere within %.0f s",
                seconds,
                self._ledger_name,
                2 * seconds,
            )
            return seconds
        hold = celery_worker.longest_hold()
        seconds = given or without_ledger(hold)
        longer = f" Tasks may hold one for {hold:.0f} s." if hold and hold > seconds else ""
        logger.log(
            logging.WARNING if celery_worker.present() else logging.INFO,
            "cloudflare: there is no lease ledger, so messages are leased for %.0f s: what a "
            "crashed worker holds runs elsewhere only after that, and a task that is held for "
            "longer runs elsewhere as well.%s An edge Worker, a result backend in Redis, an R2 "
            "bucket, or the transport option lease_ledger makes that minutes, and once",
            seconds,
            longer,
        )
        return seconds

    def close(self, timeout: float) -> Unaccepted | None:
        """Send waiting messages and the last acks, end every thread, and close the HTTP pool.

        Each of the threads may take `timeout` seconds. Returns the acks that were not accepted.
        """
        self.temporary_queues.close(timeout)
        self.broadcaster.close(timeout)
        if self.hub is not None:
            self.hub.close(timeout)
        self.dead_letters.close(timeout)
        left = self.acknowledger.close(timeout)
        self.push_server.close(timeout)
        self.claim_checks.close(timeout)
        self._sender.close()
        self.client.close()
        return left

    def _breaks(self, what: str) -> Callable[[BaseException], None]:
        """Return what ends the connections at an error of a thread, which the reason names."""
        return lambda error: self._break(f"{what} does not recover: {troubles.shown(error)}")

    def _break(self, why: str) -> None:
        """End the connections; those made from now on get a new session, with its own threads."""
        self.broken = True
        self.push_server.leave()  # the next session's needs the address
        for listener in list(self.on_broken):
            listener(ThreadBroken(why))


_Key = tuple[Credentials, Options]

_lock = threading.Lock()
_sessions: dict[_Key, Session] = {}
_users: dict[Session, int] = {}  # also of broken sessions, which have no new users
_failures: dict[_Key, tuple[float, CloudflareError]] = {}
_left: dict[_Key, list[Unaccepted]] = {}  # by closed sessions, for the next one


def acquire(credentials: Credentials, options: Options) -> Session:
    """Return this process's session for this account; the caller gives it back by `release`."""
    key = (credentials, options)
    with _lock:
        session = _sessions.get(key)
        if session is None or session.broken:
            session = _sessions[key] = Session(credentials, options)
            _users[session] = 0
            for left in _left.pop(key, ()):
                session.acknowledger.inherit(left)
        _users[session] += 1
        return session


def retain(session: Session) -> None:
    """Have one more caller of `release` before the session is closed."""
    with _lock:
        _users[session] += 1


def release(session: Session) -> None:
    """Give a session back; close it when no other caller of `acquire` has it."""
    key = (session.credentials, session.options)
    with _lock:
        if session not in _users:
            return  # a parent process's, or already closed at exit
        _users[session] -= 1
        if _users[session]:
            return
        del _users[session]
        if _sessions.get(key) is session:
            del _sessions[key]
    left = session.close(session.options.close_timeout)
    if left is None:
        return
    with _lock:
        heir = _sessions.get(key)
        if heir is None:
            _left.setdefault(key, []).append(left)
        else:
            heir.acknowledger.inherit(left)


def verify(session: Session, seconds: float) -> None:
    """Check that the account answers within `seconds`; raises a `CloudflareError` where it doesn't.

    An answer that never comes takes half of the time, so that the question can be asked again.

    A failure is raised again without a call for `FAILURE_BELIEVED`: kombu makes up to eight
    attempts to connect for a single publish, and its caller must not wait longer for a dead
    network than for one attempt.
    """
    if session.directory.verified:
        return
    key = (session.credentials, session.options)
    with _lock:
        failed_at, failure = _failures.get(key, (0.0, None))
    if failure is not None and time.monotonic() - failed_at < FAILURE_BELIEVED:
        raise failure.again()
    started = time.monotonic()
    try:
        try:
            session.directory.verify(started + seconds / 2)
        except CloudflareError as error:
            if not error.passing:
                raise
            session.directory.verify(started + seconds)
    except CloudflareError as error:
        with _lock:
            _failures[key] = (time.monotonic(), error.again())
        raise
    with _lock:
        _failures.pop(key, None)


def _forget_parents() -> None:
    """Start a forked child without sessions: threads do not survive a fork, and sockets are shared.

    The parent's sessions are kept, unused, so that garbage collection runs no code of theirs.
    """
    global _lock, _sessions, _users, _failures, _left
    _inherited.append(_users)
    _lock, _sessions, _users, _failures, _left = threading.Lock(), {}, {}, {}, {}


def _close_all() -> None:
    with _lock:
        sessions = list(_users)
        _sessions.clear()
        _users.clear()
    for session in sessions:
        session.close(EXIT_TIMEOUT)


_inherited: list[dict[Session, int]] = []
os.register_at_fork(after_in_child=_forget_parents)
atexit.register(_close_all)
