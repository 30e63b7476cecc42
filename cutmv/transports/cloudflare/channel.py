"""The kombu channel: declare, publish, consume, settle."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from amqp.protocol import queue_declare_ok_t
from kombu.exceptions import ChannelError
from kombu.utils.uuid import uuid

from cutmv.transports.cloudflare import session as sessions
from cutmv.transports.cloudflare.consumer.consumer import LOSSES, Subscription
from cutmv.transports.cloudflare.consumer.intake import Admission
from cutmv.transports.cloudflare.consumer.poller import Outlet, Puller
from cutmv.transports.cloudflare.consumer.push import Receiver
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.fanout.temporary_queue import Binding as Bound
from cutmv.transports.cloudflare.leases.acknowledger import Lease
from cutmv.transports.cloudflare.producer import batch
from cutmv.transports.cloudflare.queues import names
from cutmv.transports.cloudflare.queues.directory import Queue
from cutmv.transports.cloudflare.routing import ExchangeChannel

#: Seconds a management call (size, purge, a single get) may take.
CALL_TIMEOUT = 10.0


class Channel(ExchangeChannel):
    """A channel over Cloudflare Queues.

    Queues that die with their consumer are held in this process (see `fanout`); any other is a
    queue of the account.
    """

    do_restore = False

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._prefetch: QoS | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._temporary: dict[str, bool] = {}  # and whether it is exclusive

    @property
    def qos(self) -> QoS:
        """Prefetch and unsettled messages."""
        if self._prefetch is None:
            session = self.session
            self._prefetch = QoS(self, session.leases, session.options.pull_linger)
            self._qos = self._prefetch  # what the base class closes
        return self._prefetch

    # Queues.

    def prepare_queue_arguments(
        self, arguments: dict[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        """Add when the queue expires unread, by RabbitMQ's name for it; all else is ignored."""
        expires: float | None = kwargs.get("expires")
        added = {"x-expires": expires * 1000} if expires else {}
        return {**(arguments or {}), **added}

    def queue_declare(
        self,
        queue: str | None = None,
        passive: bool = False,
        auto_delete: bool = False,
        exclusive: bool = False,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> queue_declare_ok_t:
        """Make sure the queue exists, or with `passive` that it already does.

        Only a passive declaration counts the messages: that costs a call.
        """
        queue = queue or f"amq.gen-{uuid()}"
        local = self.session.local
        if passive:
            if not local.has(queue) and self.session.queues.find(queue) is None:
                raise ChannelError(
                    f"NOT_FOUND - no queue {queue!r}", (50, 10), "Channel.queue_declare", 404
                )
            return queue_declare_ok_t(queue, self._size(queue), 0)
        if auto_delete or exclusive:
            expires_ms = (arguments or {}).get("x-expires")
            local.declare(queue, expires_ms / 1000 if expires_ms else None)
            self._temporary[queue] = exclusive
        elif not local.has(queue):
            for part in self._parts(queue):
                self.session.queues.declare(part)
        return queue_declare_ok_t(queue, 0, 0)

    def queue_delete(
        self,
        queue: str,
        if_unused: bool = False,  # noqa: ARG002
        if_empty: bool = False,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Delete a queue with all it holds; with `if_empty`, only if that is nothing."""
        if if_empty and self._size(queue):
            return
        if self.session.local.has(queue):
            self._drop_temporary(queue)
        else:
            self.session.routes.drop(queue)
            for part in self._parts(queue):
                self.session.queues.delete(part)
        self.state.queue_bindings_delete(queue)

    def after_reply_message_received(self, queue: str) -> None:
        """Keep the reply queue, which goes with its channel: others may still answer."""

    def _drop_temporary(self, queue: str, force: bool = True) -> None:
        self.session.mailboxes.close(queue, force=force)
        self.session.local.delete(queue)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:  # noqa: ARG002
        return self.session.local.has(queue) or self.session.queues.find(queue) is not None

    def _size(self, queue: str) -> int:
        session = self.session
        if session.local.has(queue):
            elsewhere = 0 if session.local.is_read(queue) else session.mailboxes.count(queue)
            return session.local.size(queue) + elsewhere
        return sum(
            session.client.backlog(found.queue_id, time.monotonic() + CALL_TIMEOUT).count
            for found in self._existing(queue)
        )

    def _purge(self, queue: str) -> int:
        session = self.session
        count = self._size(queue)
        if session.local.has(queue):
            session.local.purge(queue)
            session.mailboxes.purge(queue)
            return count
        for found in self._existing(queue):
            session.client.purge(found.queue_id, time.monotonic() + CALL_TIMEOUT)
        return count

    def _parts(self, queue: str) -> tuple[names.Named, ...]:
        """Return what has queues of the account: the queue, and its bands of priorities."""
        return names.bands(queue, self.session.options.priority_steps)

    def _existing(self, queue: str) -> list[Queue]:
        """Return a queue's queues of the account; raises `QueueMissing` when it has none."""
        queues = self.session.queues
        first, *others = self._parts(queue)
        return [queues.get(first), *(found for part in others if (found := queues.find(part)))]

    def _admissions(self, queue: str) -> list[Admission]:
        """Return what to consume, the most urgent first; makes what is missing, if allowed."""
        session = self.session
        pushed = session.options.pushes(queue)
        require = session.queues.require_push if pushed else session.queues.require_pull
        return [Admission(part, require(part), session, self._lose) for part in self._parts(queue)]

    def create_publish_batch(self, max_size: int) -> batch.ProducerBatch:
        """Return what `kombu.Producer.batch` fills: messages for few calls."""
        return batch.ProducerBatch(self, max_size)

    # Consuming.

    def basic_consume(  # type: ignore[override]
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], None],
        consumer_tag: str,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Start giving the queue's messages to `callback`."""
        subscription = Subscription(self, queue, no_ack, callback)
        session, inbox = self.session, self.connection.inbox
        if not session.local.has(queue):
            source = Receiver if session.options.pushes(queue) else Puller
            subscription.puller = source(
                self._admissions(queue),
                session,
                self.qos,
                Outlet(lambda messages: inbox.put(subscription, messages), inbox.fail),
            )
        self._subscriptions[consumer_tag] = subscription
        self._tag_to_queue[consumer_tag] = queue
        self._active_queues.append(queue)
        self._consumers.add(consumer_tag)
        if subscription.puller is not None:
            self.qos.consume()
            self.connection.pullers.append(subscription.puller)
            subscription.puller.start()
        else:
            session.local.consume(queue, lambda message: inbox.put(subscription, [message]))
            if not session.local.is_bound(queue):  # but to the default exchange, as any queue is
                session.mailboxes.open(
                    Bound("", "direct", queue, queue), session.local.expires(queue)
                )

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop consuming; what was fetched and not yet given out goes back to the queue."""
        subscription = self._subscriptions.pop(consumer_tag, None)
        if subscription is None:
            return
        self._consumers.discard(consumer_tag)
        self._tag_to_queue.pop(consumer_tag, None)
        if subscription.queue in self._active_queues:
            self._active_queues.remove(subscription.queue)
        puller = subscription.puller
        if puller is None:
            self.session.local.cancel(subscription.queue)
            self.connection.inbox.take_back(subscription)
            return
        puller.stop()
        untouched = self.connection.inbox.take_back(subscription)
        puller.give_back(untouched)
        self.qos.unreserve(len(untouched))
        if not any(other.puller for other in self._subscriptions.values()):
            self.qos.return_dropped()

    def _lose(self, lease: Lease) -> None:
        """Have the consumer's loop told that another consumer has a message."""
        if self.connection is not None:
            self.connection.inbox.put(LOSSES, [{"lease": lease, "qos": self.qos}])

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:  # noqa: ARG002
        """Pull a single message, or return none."""
        session = self.session
        if session.local.has(queue):
            held = session.local.get(queue)
            if held is None and not session.local.is_read(queue):
                session.mailboxes.fetch(queue)
                held = session.local.get(queue)
            return self.Message(held, channel=self) if held else None
        seconds, started = session.start_consuming(), time.monotonic()
        admissions = deque(self._admissions(queue))
        admitted: list[dict[str, Any]] = []
        while not admitted:
            # One that was pulled may not be for us: it is not due, say.
            queue_id = admissions[0].queue.queue_id
            pulled = session.client.pull(queue_id, 1, seconds, started + CALL_TIMEOUT).messages
            if pulled:
                admitted = admissions[0].admit(pulled, time.monotonic() + seconds)
                continue
            admissions.popleft()
            if not admissions:
                return None
        lease: Lease = admitted[0]["lease"]
        message = self.Message(admitted[0], channel=self)
        self.qos.hold(message, lease)
        if no_ack:
            self.qos.ack(lease.lease_id)
        return message

    def close(self) -> None:
        """Cancel all consumers, return what is unsettled, drop the temporary queues."""
        if self.connection is not None and self.connection.inherited:
            # Its threads and locks are the parent process's.
            self.closed = True
            return
        if not self.closed:
            for queue, exclusive in self._temporary.items():
                self._drop_temporary(queue, force=exclusive)
            self._temporary.clear()
        if self.closed or self._prefetch is None:
            super().close()
            return
        # What is shared must last until the tasks that run have ended: their acks need it.
        session = sessions.acquire(self.session.credentials, self.session.options)
        super().close()
        if not self._prefetch.outlive(lambda: sessions.release(session)):
            sessions.release(session)
