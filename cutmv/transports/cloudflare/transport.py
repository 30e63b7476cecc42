"""The kombu transport ``cloudflare://``: connections, and the consumer's loop.

Features
========
* Type: Virtual
* Supports Direct: Yes
* Supports Topic: Yes
* Supports Fanout: Yes
* Supports Priority: Yes, opt-in
* Supports Queue TTL: Yes, for temporary queues
* Supports Message TTL: Yes

Connection String
=================
``cloudflare://:API_TOKEN@ACCOUNT_ID``; a part that is left out comes from
``CLOUDFLARE_API_TOKEN`` or ``CLOUDFLARE_ACCOUNT_ID``.

Transport Options
=================
See `options.Options`, which gives the unit and default of each.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import virtual

from cutmv.transports.cloudflare import session as sessions
from cutmv.transports.cloudflare.api import Credentials
from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.channel import Channel
from cutmv.transports.cloudflare.consumer import (
    Poller,
    PushConsumer,
    ReadyQueue,
    Recipient,
    priority_of,
)
from cutmv.transports.cloudflare.errors import CONNECTION_ERRORS, ConfigurationError
from cutmv.transports.cloudflare.leases import Delivery
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.producer import Batch, canvas_batch
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: What is shown in place of a URL's user name that may be a token without its colon.
MISPLACED = "hidden"

#: Messages given to consumers before the event loop handles other events.
MAX_READY = 100


class Transport(virtual.Transport):
    """Connects kombu to the queues of a Cloudflare account."""

    Channel = Channel

    client: Any
    channels: list[virtual.Channel]

    driver_type = "cloudflare"
    driver_name = "cloudflare"
    default_port = 0

    connection_errors = CONNECTION_ERRORS
    channel_errors = (ChannelError,)

    implements = virtual.Transport.implements.extend(
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset({"direct", "topic", "fanout"}),
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        if client.userid and not client.password:
            client.userid = MISPLACED  # perhaps a token: `as_uri` shows it
        celery_worker.attach(self.driver_type, gossip=self._gossips)
        self.ready: ReadyQueue[Recipient] = ReadyQueue(priority_of)
        self.sources: list[Poller | PushConsumer] = []
        self._session: Session | None = None
        self._loop: Any = None

    @property
    def fails_over(self) -> bool:
        """Whether a failover list names other brokers, with which the options are shared."""
        return any(not url.startswith("cloudflare") for url in getattr(self.client, "alt", ()))

    @cached_property
    def options(self) -> Options:
        """The transport's options; raises `ConfigurationError` where one is wrong.

        They are not read before a connection is made, since Celery asks for the transport when it
        can't tell of an error yet.
        """
        return Options.read(self.client.transport_options or {}, shared=self.fails_over)

    @property
    def _gossips(self) -> bool:
        """Whether the worker's gossip is allowed; not where an option is wrong, which ends it."""
        try:
            return self.options.gossips
        except ConfigurationError:
            return False

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """Empty: a part that the URL leaves out must not be shown with it."""
        return {}

    @property
    def session(self) -> Session:
        """This process's session with the account; a forked child gets its own.

        Raises `ConfigurationError` when a credential is missing.
        """
        if self._session is None or self.inherited:
            self._session = self._acquire()
            self._session.on_broken.add(self.ready.fail)
        return self._session

    def _acquire(self) -> Session:
        if self.client.userid == MISPLACED:
            raise ConfigurationError(
                "cloudflare transport: the broker URL has a user's name and no token: write "
                "cloudflare://:API_TOKEN@ACCOUNT_ID, with the colon before the token"
            )
        credentials = Credentials.read(self.client.hostname, self.client.password)
        return sessions.acquire(credentials, self.options)

    @contextmanager
    def gathering(self, attempts: int) -> Iterator[Batch]:
        """Have the canvas that Celery publishes in this block share calls; see `canvas_batch`."""
        session = self._acquire()  # stays open if the block closes the connection
        try:
            with canvas_batch(session.publishers, attempts) as batch:
                yield batch
        finally:
            sessions.release(session)

    def stats(self) -> dict[str, Any]:
        """Return what `celery inspect stats` shows of the transport; see `Session.stats`."""
        return self.session.stats()

    @property
    def inherited(self) -> bool:
        """Whether the process from which this one was forked opened the connection."""
        return self._session is not None and self._session.pid != os.getpid()

    def establish_connection(self) -> Transport:
        """Check that the account answers, once for all connections of this process."""
        session = self.session
        if not self.client.hostname:
            self.client.hostname = session.credentials.account_id  # for `as_uri`
        if (path := (self.client.virtual_host or "/").strip("/")) and "path" not in session.told:
            session.told.add("path")
            logger.warning(
                "cloudflare: the URL's path %r has no effect: the option queue_name_prefix keeps "
                "the queues of apps apart",
                path,
            )
        try:
            sessions.verify(session, self.options.publish_timeout)
        except BaseException:
            self._release()
            raise
        return self

    def create_channel(self, connection: Any) -> virtual.Channel:
        """Open a channel."""
        channel = Channel(connection)
        self.channels.append(channel)
        return channel

    def verify_connection(self, connection: Any) -> bool:  # noqa: ARG002
        """Return whether this process opened the connection, and not the one it forked from."""
        return self._session is not None and not self.inherited

    def close_connection(self, connection: Any) -> None:
        """Return messages that were not started, send the last acks, and end every thread."""
        session = self._session
        if session is None or self.inherited:
            self._session = None
            return
        for channel in list(self.channels):
            channel.close()
        deadline = time.monotonic() + self.options.close_timeout
        for source in self.sources:
            source.join(max(0.0, deadline - time.monotonic()))
        for ready in self.ready.take_all():  # put there while its consumer was being cancelled
            if isinstance(ready, Delivery) and not ready.lease.lost:
                session.acknowledger.requeue(ready)
        if self.sources:
            session.acknowledger.flush(max(0.0, deadline - time.monotonic()))
        self.sources.clear()
        self.unregister_from_event_loop(connection, self._loop)
        self.ready.close()
        self._release()

    def _release(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.on_broken.discard(self.ready.fail)
            sessions.release(session)

    # The consumer's loop.

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Wait for a message, and give consumers what is there, `MAX_READY` messages at most.

        It ends after a message of a consumer that takes them one by one: one that acks none, as
        it could not give back what its caller did not want. Raises `socket.timeout` where no
        message comes.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        delivered = 0
        while delivered < MAX_READY:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                recipient, ready = self.ready.get(0 if delivered else wait)
            except Empty:
                if not delivered:
                    raise TimeoutError from None
                break
            delivered += recipient.deliver(ready)
            if delivered and recipient.one_by_one:
                break

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have `loop` call `on_readable` when there are messages; have a shutdown wake it."""
        self._loop = loop
        celery_worker.when_shutting_down(self.ready.wake)
        loop.add_reader(self.ready.fileno(), self.on_readable, connection, loop)

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ARG002
        """Remove this connection from `loop`."""
        if loop is None:
            return
        registered = loop.readers.get(self.ready.fileno())
        if registered is not None and registered[0] == self.on_readable:
            loop.remove_reader(self.ready.fileno())
        self._loop = None

    def on_readable(self, connection: Any, loop: Any) -> None:  # noqa: ARG002
        """Give the messages of the ready queue to their consumers, `MAX_READY` at most."""
        try:
            for _ in range(MAX_READY):
                recipient, ready = self.ready.get(0)
                recipient.deliver(ready)
        except Empty:
            pass
        self.ready.drained()


# A worker of the gevent or eventlet pool makes no transport before it reports itself.
celery_worker.attach(Transport.driver_type)
