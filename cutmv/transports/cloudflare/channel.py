"""The kombu channel: declare, publish, consume, acknowledge."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from amqp.protocol import queue_declare_ok_t
from kombu.exceptions import ChannelError
from kombu.utils.uuid import uuid

from cutmv.transports.cloudflare import session as sessions
from cutmv.transports.cloudflare.consumer import (
    Intake,
    LostDeliveries,
    MemoryConsumer,
    Poller,
    PushConsumer,
    QoS,
    QueueConsumer,
)
from cutmv.transports.cloudflare.leases import Delivery
from cutmv.transports.cloudflare.producer import ProducerBatch
from cutmv.transports.cloudflare.queues import Binding, Queue, QueueName, names
from cutmv.transports.cloudflare.routing import RoutingChannel
from cutmv.transports.cloudflare.runtime import clock

#: Seconds a management call (size, purge, a single get) may take.
CALL_TIMEOUT = 10.0


class Channel(RoutingChannel):
    """A channel over Cloudflare Queues.

    Temporary queues (exclusive or auto-delete) are held in this process (see `fanout`); any other
    queue is a durable queue of the account.
    """

    do_restore = False

    #: Whether any thread may end a message at once; see `celery_worker`.
    ends_in_any_thread = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._prefetch: QoS | None = None
        self._queue_consumers: dict[str, QueueConsumer | MemoryConsumer] = {}
        self._temporary: dict[str, bool] = {}  # and whether it is exclusive

    @property
    def qos(self) -> QoS:
        """The prefetch limit and the unsettled messages."""
        if self._prefetch is None:
            session = self.session
            self._prefetch = QoS(self, session.acknowledger, session.options.pull_linger)
            self._qos = self._prefetch  # so that the base class closes it
        return self._prefetch

    # Queues.

    def prepare_queue_arguments(
        self, arguments: dict[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        """Add after how long without a reader the queue expires, by RabbitMQ's name (ms).

        Other keyword arguments are ignored.
        """
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
        """Create the queue if it does not exist; with `passive`, raise if it does not.

        Only a passive declaration counts the messages, since that needs a call.
        """
        queue = queue or f"amq.gen-{uuid()}"
        memory = self.session.memory
        if passive:
            if not memory.has(queue) and self.session.directory.find(queue) is None:
                raise ChannelError(
                    f"NOT_FOUND - no queue {queue!r}", (50, 10), "Channel.queue_declare", 404
                )
            return queue_declare_ok_t(queue, self._size(queue), 0)
        if auto_delete or exclusive:
            expires_ms = (arguments or {}).get("x-expires")
            memory.declare(queue, expires_ms / 1000 if expires_ms else None)
            self._temporary[queue] = exclusive
        elif not memory.has(queue):
            for level in self._levels(queue):
                self.session.directory.declare(level)
        return queue_declare_ok_t(queue, 0, 0)

    def queue_delete(
        self,
        queue: str,
        if_unused: bool = False,  # noqa: ARG002
        if_empty: bool = False,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Delete a queue with all its messages; with `if_empty`, only if it has none."""
        if if_empty and self._size(queue):
            return
        if self.session.memory.has(queue):
            self._drop_temporary(queue)
        else:
            self.session.binding_table.drop(queue)
            for level in self._levels(queue):
                self.session.directory.delete(level)
        self.state.queue_bindings_delete(queue)

    def after_reply_message_received(self, queue: str) -> None:
        """Keep the reply queue until its channel closes, since other workers may still reply."""

    def _drop_temporary(self, queue: str, force: bool = True) -> None:
        self.session.temporary_queues.unbind(queue, force=force)
        self.session.memory.delete(queue)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:  # noqa: ARG002
        return self.session.memory.has(queue) or self.session.directory.find(queue) is not None

    def _size(self, queue: str) -> int:
        session = self.session
        if session.memory.has(queue):
            elsewhere = (
                0 if session.memory.is_read(queue) else session.temporary_queues.count(queue)
            )
            return session.memory.size(queue) + elsewhere
        return sum(
            session.client.backlog(found.queue_id, time.monotonic() + CALL_TIMEOUT).count
            for found in self._existing(queue)
        )

    def _purge(self, queue: str) -> int:
        session = self.session
        count = self._size(queue)
        if session.memory.has(queue):
            session.memory.purge(queue)
            session.temporary_queues.purge(queue)
            return count
        for found in self._existing(queue):
            session.client.purge(found.queue_id, time.monotonic() + CALL_TIMEOUT)
        return count

    def _levels(self, queue: str) -> tuple[QueueName, ...]:
        """Return the priority levels of a queue, each of which has a queue of the account."""
        return names.levels(queue, self.session.options.priority_steps)

    def _existing(self, queue: str) -> list[Queue]:
        """Return the queues of the account of a queue's levels; raises `QueueMissing` for none."""
        queues = self.session.directory
        first, *others = self._levels(queue)
        return [queues.get(first), *(found for level in others if (found := queues.find(level)))]

    def _intakes(self, queue: str) -> list[Intake]:
        """Return an intake for each priority level, most urgent first; create missing queues."""
        session = self.session
        pushed = session.options.pushes(queue)
        require = session.directory.require_push if pushed else session.directory.require_pull
        return [
            Intake(
                level,
                require(level),
                acknowledger=session.acknowledger,
                publish=session.publishers.publish,
                claim_checks=session.claim_checks,
                dead_letters=session.dead_letters,
                on_lost=self._lose,
            )
            for level in self._levels(queue)
        ]

    def create_publish_batch(self, max_size: int) -> ProducerBatch:
        """Return the batch that `kombu.Producer.batch` fills, to publish it by few calls."""
        return ProducerBatch(self, self.session.publishers, max_size)

    # Consuming.

    def basic_consume(  # type: ignore[override]
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], None],
        consumer_tag: str,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Start giving the queue's messages to `callback`, which the consumer's loop calls."""
        session, ready = self.session, self.connection.ready
        consumer: QueueConsumer | MemoryConsumer
        if session.memory.has(queue):
            consumer = memory_consumer = MemoryConsumer(self, callback)
        else:
            consumer = QueueConsumer(self, self.qos, no_ack, callback)
            consumer.source = self._source(queue, consumer)
        self._queue_consumers[consumer_tag] = consumer
        self._tag_to_queue[consumer_tag] = queue
        self._active_queues.append(queue)
        self._consumers.add(consumer_tag)
        if isinstance(consumer, QueueConsumer):
            self.qos.consume()
            self.connection.sources.append(consumer.source)
            consumer.source.start()
            return
        session.memory.consume(queue, lambda message: ready.put(memory_consumer, [message]))
        if not session.memory.is_bound(queue):  # only to the default exchange, as every queue is
            session.temporary_queues.bind(
                Binding("", "direct", queue, queue), session.memory.expires(queue)
            )

    def _source(self, queue: str, consumer: QueueConsumer) -> Poller | PushConsumer:
        """Return the poller or push consumer that feeds a consumer; start the acknowledger."""
        session, ready = self.session, self.connection.ready
        intakes = self._intakes(queue)
        session.acknowledger.start_extending()

        def on_deliveries(deliveries: list[Delivery]) -> None:
            ready.put(consumer, deliveries)

        if session.options.pushes(queue):
            has_ledger = session.acknowledger.has_ledger
            return PushConsumer(
                intakes,
                push_server=session.push_server,
                acknowledger=session.acknowledger,
                qos=self.qos,
                lease_seconds=session.lease_seconds if has_ledger else math.inf,
                on_deliveries=on_deliveries,
            )
        return Poller(
            intakes,
            client=session.client,
            directory=session.directory,
            acknowledger=session.acknowledger,
            hub=session.hub,
            qos=self.qos,
            options=session.options,
            lease_seconds=session.lease_seconds,
            on_deliveries=on_deliveries,
            on_error=ready.fail,
        )

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop consuming; messages in the ready queue go back to their queue."""
        consumer = self._queue_consumers.pop(consumer_tag, None)
        if consumer is None:
            return
        self._consumers.discard(consumer_tag)
        queue = self._tag_to_queue.pop(consumer_tag)
        if queue in self._active_queues:
            self._active_queues.remove(queue)
        if isinstance(consumer, MemoryConsumer):
            self.session.memory.cancel(queue)
            self.connection.ready.take_back(consumer)
            return
        consumer.source.stop()
        untouched: list[Delivery] = self.connection.ready.take_back(consumer)
        for delivery in untouched:
            self.session.acknowledger.requeue(delivery)
        self.qos.unreserve(len(untouched))
        if not any(isinstance(each, QueueConsumer) for each in self._queue_consumers.values()):
            self.qos.return_dropped()

    def _lose(self, delivery: Delivery) -> None:
        """Have the consumer's loop forget a message that another consumer has taken over."""
        if self.connection is not None:
            self.connection.ready.put(LostDeliveries(self.qos), [delivery])

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:  # noqa: ARG002
        """Pull a single message, or return none."""
        session = self.session
        if session.memory.has(queue):
            held = session.memory.get(queue)
            if held is None and not session.memory.is_read(queue):
                session.temporary_queues.fetch(queue)
                held = session.memory.get(queue)
            return self.Message(held, channel=self) if held else None
        session.acknowledger.start_extending()
        delivery = self._get_delivery(queue)
        if delivery is None:
            return None
        message = self.Message(delivery.message, channel=self)
        self.qos.hold(message, delivery)
        if no_ack:
            self.qos.ack(delivery.lease.lease_id)
        return message

    def _get_delivery(self, queue: str) -> Delivery | None:
        """Pull until the intake admits a message, or the queue has none."""
        session = self.session
        seconds, started = session.lease_seconds, time.monotonic()
        for intake in self._intakes(queue):
            queue_id = intake.queue.queue_id
            while True:
                answer = session.client.pull(queue_id, 1, seconds, started + CALL_TIMEOUT)
                if not answer.messages:
                    break
                until = clock() + seconds
                # The intake may keep a pulled message back: it is not due, say.
                admitted = intake.admit(
                    [Delivery.pulled(queue_id, entry, until) for entry in answer.messages]
                )
                if admitted:
                    return admitted[0]
        return None

    def close(self) -> None:
        """Cancel all consumers, return unsettled messages, and drop the temporary queues."""
        if self.connection is not None and self.connection.inherited:
            # The connection's threads and locks are the parent process's.
            self.closed = True
            return
        if not self.closed:
            for queue, exclusive in self._temporary.items():
                self._drop_temporary(queue, force=exclusive)
            self._temporary.clear()
        if self.closed or self._prefetch is None:
            super().close()
            return
        # The session must last until the running tasks have ended, since their acks need it.
        session = self.session
        sessions.retain(session)
        super().close()
        if not self._prefetch.outlive(lambda: sessions.release(session)):
            sessions.release(session)
