"""The kombu channel: consumes and acknowledges; the classes above it declare and publish."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from cutmv.transports.cloudflare import session as sessions
from cutmv.transports.cloudflare.consumer import (
    HeldMessages,
    Intake,
    LostDeliveries,
    MemoryConsumer,
    Message,
    Poller,
    PushConsumer,
    QoS,
    QueueConsumer,
    adopted,
)
from cutmv.transports.cloudflare.declaring import CALL_TIMEOUT, QueueChannel, not_found
from cutmv.transports.cloudflare.errors import FailedOver, PublishFailed
from cutmv.transports.cloudflare.leases import Delivery
from cutmv.transports.cloudflare.producer import ProducerBatch
from cutmv.transports.cloudflare.queues import Binding
from cutmv.transports.cloudflare.queues import arguments as queue_arguments
from cutmv.transports.cloudflare.runtime import clock


class Channel(QueueChannel):
    """A channel over Cloudflare Queues."""

    Message = Message
    do_restore = False

    #: Whether any thread may end a message at once; see `celery_hooks`.
    ends_in_any_thread = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._prefetch: QoS | None = None
        self._queue_consumers: dict[str, QueueConsumer | MemoryConsumer] = {}
        self._held: HeldMessages = {}  # those of temporary queues

    @property
    def qos(self) -> QoS:
        """The prefetch limit and the unsettled messages."""
        if self._prefetch is None:
            session = self.session
            self._prefetch = QoS(self, session.acknowledger, session.options.pull_linger)
            self._qos = self._prefetch  # so that the base class closes it
        return self._prefetch

    def _intakes(self, queue: str) -> list[Intake]:
        """Return an intake for each priority level, most urgent first; create missing queues."""
        session = self.session
        pushed = session.options.pushes(queue)
        require = session.directory.require_push if pushed else session.directory.require_pull
        adopt = partial(adopted, session.options.task_of_foreign(queue), queue)
        return [
            Intake(
                level,
                require(level),
                acknowledger=session.acknowledger,
                publish=session.publishers.publish,
                claim_checks=session.claim_checks,
                dead_letters=session.dead_letters,
                on_lost=self._lose,
                message_ttl=session.memory.ttl(queue),
                lease=session.lease_length(pushed),
                adopt=adopt,
            )
            for level in self._levels(queue)
        ]

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> None:
        """Publish; where a failover list names another broker, have kombu go on with that one."""
        transport: Any = self.connection
        try:
            super().basic_publish(message, exchange, routing_key, **kwargs)
        except PublishFailed as error:
            if not transport.fails_over:
                raise
            raise FailedOver(str(error), cause=error) from None

    def create_publish_batch(self, max_size: int) -> ProducerBatch:
        """Return the batch that `kombu.Producer.batch` fills, to publish it by few calls."""
        return ProducerBatch(self, self.session.publishers, max_size)

    # Consuming.

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False
    ) -> None:
        """Set how many messages the channel may hold unsettled; 0 for any number."""
        if prefetch_size:
            why = "messages are counted, and not their bytes; set prefetch_count"
            queue_arguments.tell(self.session.told, "channel", "prefetch_size", why)
        super().basic_qos(prefetch_size, prefetch_count, apply_global)

    def basic_consume(  # type: ignore[override]
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], None],
        consumer_tag: str,
        *,
        exclusive: bool = False,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Start giving the queue's messages to `callback`, which the consumer's loop calls.

        It takes the place of the channel's consumer that has the same tag.
        """
        self.basic_cancel(consumer_tag)
        session = self.session
        asked = {**({"exclusive": True} if exclusive else {}), **(arguments or {})}
        queue_arguments.tell_otherwise(session.told, f"consumer of queue {queue!r}", asked)
        consumer: QueueConsumer | MemoryConsumer
        if session.memory.has(queue):
            consumer = MemoryConsumer(self, self._held, queue, no_ack, callback)
        elif session.memory.was_deleted(queue):
            raise not_found(queue, "Channel.basic_consume")
        else:
            consumer = QueueConsumer(self, self.qos, no_ack, callback)
            consumer.source = self._source(queue, consumer)
        self._queue_consumers[consumer_tag] = consumer
        self._tag_to_queue[consumer_tag] = queue
        self._active_queues.append(queue)
        self._consumers.add(consumer_tag)
        with session.counting:
            session.consumers[queue] += 1
        if isinstance(consumer, QueueConsumer):
            self.qos.consume()
            self.connection.sources.append(consumer.source)
            consumer.source.start()
        else:
            self._read_temporary(queue, consumer)

    def _read_temporary(self, queue: str, consumer: MemoryConsumer) -> None:
        """Have a consumer get the messages of a temporary queue, also of other processes."""
        session, ready = self.session, self.connection.ready
        consumer.read = lambda message: ready.put(consumer, [message])
        session.memory.consume(queue, consumer.read)
        if not session.memory.is_bound(queue):  # only to the default exchange, as every queue is
            session.temporary_queues.bind(
                Binding("", "direct", queue, queue), session.memory.expires(queue)
            )
            session.memory.made_reachable(queue)

    def _source(self, queue: str, consumer: QueueConsumer) -> Poller | PushConsumer:
        """Return the poller or push consumer that feeds a consumer; start the acknowledger."""
        session, ready = self.session, self.connection.ready
        session.acknowledger.start_extending()
        intakes = self._intakes(queue)

        def on_deliveries(deliveries: list[Delivery]) -> None:
            ready.put(consumer, deliveries)

        if session.options.pushes(queue):
            has_ledger = session.acknowledger.has_ledger
            return PushConsumer(
                intakes,
                push_server=session.push_server,
                pushed_messages=session.pushed_messages,
                acknowledger=session.acknowledger,
                qos=self.qos,
                lease_seconds=session.lease_seconds if has_ledger else math.inf,
                on_deliveries=on_deliveries,
                on_error=ready.fail,
            )
        return Poller(
            intakes,
            client=session.client,
            directory=session.directory,
            acknowledger=session.acknowledger,
            hub=session.hub,
            qos=self.qos,
            options=session.options,
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
        self._active_queues.remove(queue)
        session, ready = self.session, self.connection.ready
        with session.counting:
            session.consumers -= Counter([queue])  # keeps no zeros
        if isinstance(consumer, MemoryConsumer):
            session.memory.cancel(queue, consumer.read)
            for message in reversed(ready.take_back(consumer)):
                session.memory.put_back(queue, message)
            self._delete_unused()
            return
        consumer.source.stop()
        self.connection.sources[:] = [each for each in self.connection.sources if not each.ended]
        self.qos.give_back(ready.take_back(consumer))
        session.returned = True
        if not any(isinstance(each, QueueConsumer) for each in self._queue_consumers.values()):
            self.qos.return_dropped()

    def _remove_fetched(self, queue: str) -> None:
        for tag, consumer in self._queue_consumers.items():
            if self._tag_to_queue[tag] == queue and isinstance(consumer, QueueConsumer):
                for delivery in self.connection.ready.take_back(consumer):
                    self.qos.remove(delivery)

    def _lose(self, delivery: Delivery) -> None:
        """Have the consumer's loop forget a message that another consumer has taken over."""
        if self.connection is not None:
            self.connection.ready.put(LostDeliveries(self.qos), [delivery])

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:  # noqa: ARG002
        """Pull a single message, or return none.

        A message that this process has returned is there again.
        """
        session = self.session
        if session.memory.has(queue):
            held = session.memory.get(queue)
            if held is None and not session.memory.is_read(queue):
                session.temporary_queues.fetch(queue)
                held = session.memory.get(queue)
            if held is None:
                return None
            message = self.Message(held, channel=self)
            if not no_ack:
                self._held[str(message.delivery_tag)] = queue, held
            return message
        session.acknowledger.start_extending()
        if session.returned:
            session.returned = False
            session.acknowledger.flush(CALL_TIMEOUT)
        delivery = self._get_delivery(queue)
        if delivery is None:
            return None
        message = self.Message(delivery.message, channel=self)
        self.qos.hold(message, delivery)
        if no_ack:
            self.qos.ack(delivery.lease.lease_id)
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Have a message removed; with `multiple`, all that were given before it, too."""
        if delivery_tag in self._held:
            tags = list(self._held)
            for tag in tags[: tags.index(delivery_tag)] if multiple else ():
                self._held.pop(tag, None)
            self._held.pop(delivery_tag, None)
        elif self._prefetch is not None:
            self._prefetch.ack(delivery_tag, multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Have a message returned to its queue, where it is there at once, or removed."""
        held = self._held.pop(delivery_tag, None)
        if held is None:
            if self._prefetch is not None:
                super().basic_reject(delivery_tag, requeue)
            if self.connection is not None:  # else the channel was closed
                self.session.returned |= requeue
        elif requeue:
            queue, message = held
            message["properties"]["delivery_info"]["redelivered"] = True
            self.session.memory.put_back(queue, message)

    def basic_recover(self, requeue: bool = False) -> None:
        """Return every message that is not acked."""
        if requeue:
            self._return_held()
        super().basic_recover(requeue)
        self.session.returned = True

    def _return_held(self) -> None:
        for delivery_tag in reversed(list(self._held)):
            self.basic_reject(delivery_tag, requeue=True)

    def _get_delivery(self, queue: str) -> Delivery | None:
        """Pull until the intake admits a message, or the queue has none."""
        session = self.session
        started = time.monotonic()
        for intake in self._intakes(queue):
            queue_id = intake.queue.queue_id
            while True:
                began, deadline = clock(), started + CALL_TIMEOUT
                answer = session.client.pull(queue_id, 1, intake.lease.seconds, deadline)
                if not answer.messages:
                    break
                # The intake may keep a pulled message back: it is not due, say.
                admitted = intake.admit(intake.pulled(answer.messages, began))
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
            self._return_held()
            self.session.temporary_queues.unbind_each(self._temporary)
            for queue in self._temporary:
                self._drop_bindings(queue)
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
