"""Declares, deletes, measures and purges queues."""

from __future__ import annotations

import time
from typing import Any

from amqp.protocol import queue_declare_ok_t
from kombu.exceptions import ChannelError
from kombu.utils.uuid import uuid

from cutmv.transports.cloudflare.errors import QueueMissing
from cutmv.transports.cloudflare.exchanges import precondition_failed
from cutmv.transports.cloudflare.queues import Queue, QueueArguments
from cutmv.transports.cloudflare.queues import arguments as queue_arguments
from cutmv.transports.cloudflare.routing import RoutingChannel

#: Seconds a management call (size, purge, a single get) may take.
CALL_TIMEOUT = 10.0

#: Seconds to wait for acks that are on their way, before messages are counted.
ACKS_TIMEOUT = 1.0


def not_found(queue: str, method: str) -> ChannelError:
    """Return AMQP's error for a queue that does not exist."""
    return ChannelError(f"NOT_FOUND - no queue {queue!r}", (50, 10), method, 404)


class QueueChannel(RoutingChannel):
    """A channel's operations on queues.

    Temporary queues (exclusive or auto-delete) are held in this process (see `fanout`); any other
    queue is a durable queue of the account.
    """

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._temporary: dict[str, bool] = {}  # and whether it is exclusive

    def prepare_queue_arguments(
        self, arguments: dict[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return a queue's arguments by RabbitMQ's names, with those of kombu's keywords added."""
        return queue_arguments.named(arguments, kwargs)

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

        Only a passive declaration counts the messages, since that needs a call; of the consumers
        it counts those of this process.
        """
        queue = queue or f"amq.gen-{uuid()}"
        session = self.session
        if passive:
            if not session.memory.has(queue) and session.directory.find(queue) is None:
                raise not_found(queue, "Channel.queue_declare")
            return queue_declare_ok_t(queue, self._size(queue), session.consumers[queue])
        known = session.memory.has(queue)
        if auto_delete and not exclusive and not known and session.directory.knows(queue):
            why = "it exists, and stays; delete it once, to have it go with its consumers"
            queue_arguments.tell(session.told, f"queue {queue!r}", "auto_delete", why)
            auto_delete = False
        temporary = auto_delete or exclusive or known
        kept = QueueArguments.read(arguments)
        queue_arguments.tell_without_effect(
            queue,
            arguments,
            temporary=temporary,
            has_levels=bool(session.options.priority_steps),
            told=session.told,
        )
        if auto_delete or exclusive:
            self._delete_unused()
            session.memory.declare(queue, kept)
            self._temporary[queue] = exclusive
        elif not temporary and not self._is_temporary_elsewhere(queue):
            for level in self._levels(queue):
                session.directory.declare(level)
            session.memory.declare_durable(queue, kept.message_ttl)
        return queue_declare_ok_t(queue, 0, 0)

    def _is_temporary_elsewhere(self, queue: str) -> bool:
        """Return whether there is a temporary queue of this name, of another process.

        A durable one beside it would take the messages, and nobody would read them.
        """
        session = self.session
        if not session.options.fanout or session.directory.find(queue) is not None:
            return False
        session.binding_table.refresh()
        return session.broadcaster.holds(queue)

    def queue_delete(
        self,
        queue: str,
        if_unused: bool = False,
        if_empty: bool = False,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Delete a queue with all its messages.

        Raises `ChannelError` with `if_unused` if this process consumes from it (other processes
        can't be seen), and with `if_empty` if it has messages.
        """
        session = self.session
        if if_unused and session.consumers[queue]:
            raise precondition_failed(f"queue {queue!r} is in use", "Channel.queue_delete")
        if if_empty and self._has_queue(queue) and self._size(queue):
            raise precondition_failed(f"queue {queue!r} is not empty", "Channel.queue_delete")
        if session.memory.has(queue):
            session.temporary_queues.unbind(queue)
            self._drop_bindings(queue)
            self._temporary.pop(queue, None)
            return
        session.binding_table.drop(queue)
        for level in self._levels(queue):
            session.directory.delete(level)
        session.memory.declare_durable(queue, None)
        self._drop_bindings(queue)

    def after_reply_message_received(self, queue: str) -> None:
        """Keep the reply queue until its channel closes, since other workers may still reply."""

    def _drop_bindings(self, queue: str) -> None:
        """Forget a queue, and the auto-delete exchanges to which nothing else is bound."""
        memory = self.session.memory
        exchanges = {exchange for exchange, _ in memory.bindings(queue)}
        memory.delete(queue)
        for exchange in exchanges:
            self._unbound_from(exchange)

    def _delete_unused(self) -> None:
        """Delete the temporary queues whose last consumers were cancelled a while ago."""
        session = self.session
        for queue in session.memory.unused():
            session.temporary_queues.expire(queue)
        self._temporary = {
            name: exclusive
            for name, exclusive in self._temporary.items()
            if session.memory.has(name)
        }

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:  # noqa: ARG002
        return self.session.memory.has(queue) or self.session.directory.find(queue) is not None

    def _size(self, queue: str) -> int:
        session = self.session
        if session.memory.has(queue):
            elsewhere = (
                0 if session.memory.is_read(queue) else session.temporary_queues.count(queue)
            )
            return session.memory.size(queue) + elsewhere
        # Cloudflare counts what is leased, too, and what was acked a moment ago.
        session.acknowledger.flush_calls(ACKS_TIMEOUT)
        size = 0
        for found in self._existing(queue):
            count = session.client.backlog(found.queue_id, time.monotonic() + CALL_TIMEOUT).count
            size += max(0, count - session.acknowledger.given(found.queue_id))
        return size

    def queue_purge(self, queue: str, **kwargs: Any) -> int:  # noqa: ARG002
        """Remove a queue's messages, and return about how many there were.

        Raises `ChannelError` where there is no such queue, as AMQP does.
        """
        session = self.session
        if session.memory.has(queue):
            count = self._size(queue)
            session.memory.purge(queue)
            session.temporary_queues.purge(queue)
            return count
        try:
            found = self._existing(queue)
        except QueueMissing:
            raise not_found(queue, "Channel.queue_purge") from None
        count = self._size(queue)
        for each in found:
            session.client.purge(each.queue_id, time.monotonic() + CALL_TIMEOUT)
        self._remove_fetched(queue)
        return count

    def _remove_fetched(self, queue: str) -> None:
        """Have the messages of a purged queue removed that wait here for consumers."""
        raise NotImplementedError

    def _existing(self, queue: str) -> list[Queue]:
        """Return the queues of the account of a queue's levels; raises `QueueMissing` for none."""
        queues = self.session.directory
        first, *others = self._levels(queue)
        return [queues.get(first), *(found for level in others if (found := queues.find(level)))]
