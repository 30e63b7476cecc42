"""Routes messages through exchanges: computes a message's `Route` once, and publishes by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from kombu.transport import virtual
from kombu.utils.uuid import uuid

from cutmv.transports.cloudflare import celery_worker, producer
from cutmv.transports.cloudflare.consumer import Poller, PushConsumer, ReadyQueue, Recipient
from cutmv.transports.cloudflare.errors import TaskTooLong
from cutmv.transports.cloudflare.fanout import TableRow
from cutmv.transports.cloudflare.messages import BroadcastMessage, Outgoing, envelope, eta, limits
from cutmv.transports.cloudflare.queues import Binding, QueueName, TemporaryBinding, names
from cutmv.transports.cloudflare.session import Session

#: AMQP's delivery mode of persistent messages.
PERSISTENT = 2

#: The routing key of Celery's event that a task's message is sent; it waits until that is true.
TASK_SENT = "task.sent"


@dataclass(frozen=True, slots=True)
class Route:
    """Where one publish goes.

    Attributes:
        exchange: The exchange; empty for the default exchange.
        type: The exchange's type: ``direct``, ``topic`` or ``fanout``.
        routing_key: The message's routing key.
        persistent: Whether the message has to outlive a broker's restart, as a task has, but an
            event or a command has not.
        queues: The queues it is put into: durable queues, and temporary ones of this process.
        broadcast: Whether other processes may have temporary queues bound to it.
    """

    exchange: str
    type: str
    routing_key: str
    persistent: bool
    queues: tuple[str, ...]
    broadcast: bool

    def message(self, text: str) -> BroadcastMessage:
        """Return the broadcast message of this text for other processes' temporary queues."""
        return BroadcastMessage(self.exchange, self.type, self.routing_key, text)


class Connection(Protocol):
    """The attributes of its transport that a channel uses."""

    client: Any
    state: Any
    channels: list[virtual.Channel]

    @property
    def session(self) -> Session:
        """This process's session with the account."""

    @property
    def inherited(self) -> bool:
        """Whether the process from which this one was forked opened the connection."""

    @property
    def ready(self) -> ReadyQueue[Recipient]:
        """The ready queue, whose messages the consumer's loop gives out."""

    @property
    def sources(self) -> list[Poller | PushConsumer]:
        """The pollers and push consumers of the connection's consumers."""


class RoutingChannel(virtual.Channel):
    """Binds queues and routes messages by bindings that all processes see."""

    connection: Connection  # type: ignore[assignment]

    supports_fanout = True

    @property
    def session(self) -> Session:
        """This process's session with the account."""
        return self.connection.session

    # Bindings.

    def get_table(self, exchange: str) -> list[TableRow]:  # type: ignore[override]
        """Return an exchange's bindings: this connection's, and those of temporary queues."""
        declared = (self.state.exchanges or {}).get(exchange)
        own = declared["table"] if declared else []
        return [*own, *self.session.memory.table(exchange)]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        """Do nothing: kombu calls this once for each binding, but an expired one must come back."""

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Bind a queue to an exchange, so that other processes see it."""
        super().queue_bind(queue, exchange, routing_key, arguments, **kwargs)
        exchange, session = exchange or "amq.direct", self.session
        binding = Binding(exchange, self._type(exchange), routing_key, queue)
        if session.memory.has(queue):
            row: Any = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
            session.memory.bind(exchange, row)
            session.temporary_queues.bind(binding, session.memory.expires(queue))
        else:
            session.binding_table.bind(binding)

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Remove a binding."""
        exchange = exchange or "amq.direct"
        self.state.binding_delete(queue, exchange, routing_key)
        row: Any = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
        declared = (self.state.exchanges or {}).get(exchange)
        if declared is not None:
            declared["table"][:] = [each for each in declared["table"] if each != row]
        session = self.session
        binding = Binding(exchange, self._type(exchange), routing_key, queue)
        if session.memory.has(queue):
            session.memory.unbind(exchange, row)
            session.temporary_queues.unbind(queue, binding)
        else:
            session.binding_table.unbind(binding)

    def _type(self, exchange: str) -> str:
        return str(self.typeof(exchange).type)

    # Routes.

    def _route(self, exchange: str, routing_key: str, persistent: bool) -> Route:
        """Compute where a message goes."""
        if not exchange:
            known = self._is_known(routing_key, persistent)
            itself = (routing_key,) if known else ()
            return Route("", "direct", routing_key, persistent, itself, broadcast=not known)
        session, exchange_type = self.session, self._type(exchange)
        queues = self._bound(exchange, exchange_type, routing_key)
        if persistent and not queues:
            session.binding_table.refresh()
            queues = self._bound(exchange, exchange_type, routing_key)
        if exchange_type == "direct":
            session.broadcaster.renew_list()
            # A direct message with a queue bound here is a task; any other may be a reply.
            broadcast = not queues and session.options.fanout
        else:
            broadcast = session.broadcaster.wants(exchange, exchange_type)
        return Route(exchange, exchange_type, routing_key, persistent, queues, broadcast)

    def _bound(self, exchange: str, exchange_type: str, routing_key: str) -> tuple[str, ...]:
        """Return the queues that this process has bound, and durable queues that any has bound."""
        table: Any = self.get_table(exchange)
        own = self.typeof(exchange).lookup(table, exchange, routing_key, None)
        durable = self.session.binding_table.queues(exchange, exchange_type, routing_key)
        return tuple({*own, *durable})

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:  # noqa: ARG002
        """Return the queues for a message, bound by this process or by another."""
        if not exchange:
            return [routing_key]
        return list(self._bound(exchange, self._type(exchange), routing_key))

    def _is_known(self, queue: str, persistent: bool) -> bool:
        """Return whether a message to the default exchange is for a queue that is known here.

        A persistent message also counts so if no other process can have its queue.
        """
        session = self.session
        if not session.options.fanout or session.memory.has(queue):
            return True
        if session.directory.knows(queue):
            return True
        if not persistent:
            return False
        found = session.directory.find(queue)  # lists the queues again if it does not know it
        return found is not None or not session.broadcaster.reaches("", "direct", queue)

    # Publishing.

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> None:
        """Publish to the queues of the message's route, and to other processes' temporary ones."""
        self._inplace_augment_message(message, exchange, routing_key)
        persistent = message["properties"].get("delivery_mode") == PERSISTENT
        route = self._route(exchange or "", routing_key or "", persistent)
        if route.routing_key == TASK_SENT:
            gathering = producer.current(self.session.publishers)
            task_id = envelope.task_sent(message)
            if gathering and gathering.when_sent(task_id, lambda: self._publish(message, route)):
                return
        self._publish(message, route, **kwargs)

    def _publish(self, message: dict[str, Any], route: Route, **kwargs: Any) -> None:
        for queue in route.queues:
            self._put(queue, message, route=route, **kwargs)
        if route.broadcast:
            self._broadcast(message, route)

    def _broadcast(self, message: dict[str, Any], route: Route) -> None:
        broadcaster = self.session.broadcaster
        outgoing = route.message(envelope.encode(message))
        if not route.exchange:
            # A result, say, for another process's temporary queue. It is sent at once and not by
            # the broadcaster's thread, since a pool's process may end right after it.
            if not broadcaster.deliver(outgoing) and route.persistent:
                # This raises that there is no such queue.
                self._put(route.routing_key, message, route=route)
        elif route.persistent:
            broadcaster.deliver(outgoing)  # raises, so that the caller knows a task was not sent
        else:
            broadcaster.send(outgoing)

    def _inplace_augment_message(
        self, message: dict[str, Any], exchange: str | None, routing_key: str | None
    ) -> None:
        message["body"], encoding = envelope.encode_body(
            message["body"], message.get("content-encoding")
        )
        message["id"] = uuid()
        properties = message["properties"]
        properties["body_encoding"] = encoding
        properties["delivery_info"].update(exchange=exchange, routing_key=routing_key)

    def _put(
        self,
        queue: str,
        message: dict[str, Any],
        route: Route | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Put a message into one queue of its `route` (none: directly, without an exchange)."""
        session = self.session
        if route is None:
            route = Route("", "direct", queue, True, (queue,), broadcast=False)
        target: QueueName | TemporaryBinding
        if session.memory.has(queue):
            elsewhere = self._elsewhere(queue, message, route)
            if elsewhere is None:
                return
            target = elsewhere
        else:
            priority = self._get_message_priority(message)
            target = names.level_of(queue, session.options.priority_steps, priority)
            self._check_time_limit(queue, target, message)
        name = str(message["headers"].get("id") or message["id"])
        text = session.claim_checks.fit(envelope.encode(message))
        outgoing = Outgoing(text, eta.due_at(message), name)
        # A fanout message is sent at once, also from within a block that gathers.
        gathering = None if route.type == "fanout" else producer.current(session.publishers)
        if gathering is not None:
            gathering.add(target, outgoing)
        else:
            session.publishers.to(target).publish([outgoing])

    def _elsewhere(
        self, queue: str, message: dict[str, Any], route: Route
    ) -> TemporaryBinding | None:
        """Put a message into a temporary queue of this process, or return another queue for it.

        A task goes to the process that reads the queue, if that is another one. Of a fanout message
        each process has its own copy.
        """
        session = self.session
        stays = not route.persistent or session.memory.is_read(queue) or route.type == "fanout"
        if not stays:
            outgoing = route.message(envelope.encode(message))
            if session.broadcaster.publish_by_hub(outgoing):
                return None
            target = session.temporary_queues.send_to(queue, route.exchange)
            if target is not None:
                return target
        session.memory.put(queue, message)
        return None

    def _check_time_limit(self, queue: str, target: QueueName, message: dict[str, Any]) -> None:
        """Raise `TaskTooLong` if the task may take longer than the edge Worker waits for it."""
        longest = celery_worker.time_limit(message) or 0
        if longest <= limits.MAX_PUSHED:
            return
        found = self.session.directory.find(target)
        if found is not None and found.consumer == "worker":
            raise TaskTooLong(
                f"queue {queue!r} is pushed by a Worker, which waits {limits.MAX_PUSHED:.0f} s for "
                f"a task at most, and this one's time limit is {longest:g} s: lower it, or send "
                f"the task to a queue that is pulled from"
            )
