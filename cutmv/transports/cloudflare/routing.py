"""Routes messages through exchanges: computes a message's `Route` once, and publishes by it."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from kombu.utils.uuid import uuid

from cutmv.transports.cloudflare import producer
from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.errors import BatchFailed, CloudflareError, TaskTooLong
from cutmv.transports.cloudflare.exchanges import ExchangeChannel
from cutmv.transports.cloudflare.fanout import BINDINGS, CONTROL_SUFFIX
from cutmv.transports.cloudflare.messages import (
    BroadcastMessage,
    Outgoing,
    envelope,
    eta,
    expiry,
    limits,
)
from cutmv.transports.cloudflare.queues import Binding, QueueName, TemporaryBinding, names
from cutmv.transports.cloudflare.queues import arguments as queue_arguments

logger = logging.getLogger(__name__)

#: AMQP's delivery mode of persistent messages.
PERSISTENT = 2

#: The routing key of Celery's event that a task's message is sent; it waits until that is true.
TASK_SENT = "task.sent"

#: Names that kombu and its users generate for a queue of one client: nobody else declares it.
_GENERATED = re.compile(r"amq\.gen-.+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Route:
    """Where one publish goes.

    Attributes:
        exchange: The exchange; empty for the default exchange.
        type: The exchange's type: ``direct``, ``topic`` or ``fanout``; empty where only processes
            on the hub may know it.
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


class RoutingChannel(ExchangeChannel):
    """Publishes messages by the bindings that all processes see."""

    # Routes.

    def _route(self, exchange: str, routing_key: str, persistent: bool) -> Route:
        """Compute where a message goes."""
        if not exchange:
            known = self._is_known(routing_key, persistent)
            itself = (routing_key,) if known else ()
            return Route("", "direct", routing_key, persistent, itself, broadcast=not known)
        session, known_type = self.session, self._known_type(exchange)
        queues = self._bound(exchange, routing_key)
        if persistent and not queues and not session.broadcaster.has_control_queues(exchange):
            session.binding_table.refresh()
            known_type = self._known_type(exchange)
            queues = self._bound(exchange, routing_key)
        exchange_type = known_type or ("direct" if session.hub is None else "")
        if exchange_type in ("direct", ""):
            if persistent:
                session.broadcaster.renew_list()
            # A direct message with a queue bound here is a task; any other may be a reply.
            broadcast = not queues and session.options.fanout
        else:
            broadcast = session.broadcaster.wants(exchange, exchange_type)
        return Route(exchange, exchange_type, routing_key, persistent, queues, broadcast)

    def _bound(self, exchange: str, routing_key: str) -> tuple[str, ...]:
        """Return the queues that this process has bound, and durable queues that any has bound."""
        table: Any = self.get_table(exchange)
        own = self.typeof(exchange).lookup(table, exchange, routing_key, None)
        durable = self.session.binding_table.queues(exchange, self._type(exchange), routing_key)
        return tuple({*own, *durable})

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:  # noqa: ARG002
        """Return the queues for a message, bound by this process or by another."""
        return [routing_key] if not exchange else list(self._bound(exchange, routing_key))

    def _is_known(self, queue: str, persistent: bool) -> bool:
        """Return whether a message to the default exchange is for a queue that is known here."""
        session = self.session
        if session.memory.has(queue) or session.directory.knows(queue):
            return True
        if not session.options.fanout or not persistent:
            return False
        if session.broadcaster.reaches("", "direct", queue):
            return False
        return session.directory.find(queue) is not None  # lists the queues again

    # Publishing.

    def basic_publish(
        self,
        message: dict[str, Any],
        exchange: str,
        routing_key: str,
        *,
        mandatory: bool = False,
        immediate: bool = False,
        **kwargs: Any,
    ) -> None:
        """Publish to the queues of the message's route, and to other processes' temporary ones.

        A `mandatory` message for which there is no queue goes to the callbacks for returned
        messages (kombu's ``Producer(on_return=…)``).
        """
        if immediate:
            why = "a message waits until somebody consumes it; an expiration ends it"
            queue_arguments.tell(self.session.told, "a publish", "immediate", why)
        self._inplace_augment_message(message, exchange, routing_key)
        self._open_unreachable()
        persistent = message["properties"].get("delivery_mode") == PERSISTENT
        route = self._route(exchange or "", routing_key or "", persistent)
        if route.routing_key == TASK_SENT:
            gathering = producer.latest()
            task_id = envelope.task_sent(message)
            if gathering and gathering.when_sent(
                task_id, lambda: self._publish(message, route), event=True
            ):
                return
        if self._publish(message, route, mandatory=mandatory, **kwargs):
            return
        if mandatory:
            self._return(message, route.exchange, route.routing_key)
        else:
            self._tell_dropped(message, route)

    def _publish(
        self, message: dict[str, Any], route: Route, *, mandatory: bool = False, **kwargs: Any
    ) -> bool:
        """Publish by a route, queue after queue; an error names the queues that have the message.

        Copies in several queues share the publish's id; with its queue's name each is unique.
        Returns whether any queue has it, as far as is known: always true of a transient message to
        an exchange, unless it is `mandatory`.
        """
        if not route.queues and not route.broadcast:
            return False
        text = envelope.encode(message)
        reached: list[str] = []
        for queue in route.queues:
            try:
                self._put(queue, message, route=route, text=text, **kwargs)
            except CloudflareError as error:
                if not reached or isinstance(error, BatchFailed):
                    raise
                raise error.again(f"; queue {', '.join(map(repr, reached))} has it") from error
            reached.append(queue)
        if route.broadcast:
            return self._broadcast(message, route, text, mandatory) or bool(reached)
        return True

    def _tell_dropped(self, message: dict[str, Any], route: Route) -> None:
        """Log once that a message to an exchange was for no queue, unless that is usual.

        A command may find no worker, an event no listener, and a reply nobody who waits for it.
        """
        exchange, key, told = route.exchange, route.routing_key, self.session.told
        usual = not route.persistent or not exchange or exchange.endswith(CONTROL_SUFFIX)
        if usual or _is_reply(message, key) or "dropped" in told:
            return
        told.add("dropped")
        logger.warning(
            "cloudflare: exchange %r has no queue for key %r, so messages are dropped: bind a "
            "queue; a mandatory message is returned to its producer's on_return",
            exchange,
            key,
        )

    def _open_unreachable(self) -> None:
        """Let other processes reach the temporary queues that were declared without a binding.

        This message may name one of them, as the queue to which to reply.
        """
        session = self.session
        for queue in session.memory.unreachable:
            session.temporary_queues.bind(
                Binding("", "direct", queue, queue), session.memory.expires(queue)
            )
            session.memory.made_reachable(queue)

    def _broadcast(self, message: dict[str, Any], route: Route, text: str, mandatory: bool) -> bool:
        """Publish to other processes' temporary queues; return whether there are any, if known."""
        session = self.session
        broadcaster = session.broadcaster
        told = session.temporary_queues.introductions() if route.type == "fanout" else {}
        if told:
            properties = {**message["properties"], BINDINGS: told}
            text = envelope.encode({**message, "properties": properties})
        outgoing = route.message(text)
        if not route.exchange:
            # A result, say, for another process's temporary queue. It is sent at once and not by
            # the broadcaster's thread, since a pool's process may end right after it.
            return broadcaster.deliver(outgoing) or (
                not mandatory and self._put_nowhere(message, route, outgoing)
            )
        if route.persistent or mandatory:
            # Raises, so that the caller knows a task was not sent.
            return broadcaster.deliver(outgoing)
        broadcaster.send(outgoing)
        return True

    def _put_nowhere(
        self, message: dict[str, Any], route: Route, outgoing: BroadcastMessage
    ) -> bool:
        """Keep or drop a message to the default exchange whose queue does not exist.

        A reply whose client is gone is dropped, as on every broker. Any other persistent message
        waits for who declares its queue, as on Redis: the queue is created. Raises `QueueMissing`
        where that is not allowed. Returns whether the message was kept.
        """
        queue = route.routing_key
        if not route.persistent or _is_reply(message, queue):
            logger.info("cloudflare: there is no queue %r (any more): a message is dropped", queue)
            return False
        self.session.binding_table.refresh()
        if self.session.broadcaster.deliver(outgoing):
            return True
        for level in self._levels(queue):
            self.session.directory.declare(level)
        self._put(queue, message, route=route)
        return True

    def _levels(self, queue: str) -> tuple[QueueName, ...]:
        """Return the priority levels of a queue, each of which has a queue of the account."""
        return names.levels(queue, self.session.options.priority_steps)

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
        expiry.stamp(message)

    def _put(
        self,
        queue: str,
        message: dict[str, Any],
        route: Route | None = None,
        text: str = "",
        timeout: float | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Put a message into one queue of its `route` (none: directly, without an exchange).

        `text` is the message's envelope, where its caller has it, and `timeout` (s) takes the place
        of `publish_timeout`.
        """
        session = self.session
        text = text or envelope.encode(message)
        if route is None:
            route = Route("", "direct", queue, True, (queue,), broadcast=False)
        target: QueueName | TemporaryBinding
        if session.memory.has(queue):
            elsewhere = self._elsewhere(queue, message, route, text)
            if elsewhere is None:
                return
            target = elsewhere
        else:
            priority = self._get_message_priority(message)
            target = names.level_of(queue, session.options.priority_steps, priority)
            self._check_time_limit(queue, target, message)
        task_id = message["headers"].get("id")
        name = str(task_id or message["id"])
        outgoing = Outgoing(session.claim_checks.fit(text), eta.due_at(message), name)
        # A fanout message is sent at once, also from within a block that gathers.
        gathering = None if route.type == "fanout" else producer.current(session.publishers)
        if gathering is not None:
            # Of the task message protocol 1 only the correlation id is the task's.
            gathering.add(target, outgoing, task_id or message["properties"].get("correlation_id"))
        else:
            session.publishers.to(target).publish([outgoing], timeout)

    def _elsewhere(
        self, queue: str, message: dict[str, Any], route: Route, text: str
    ) -> TemporaryBinding | None:
        """Put a message into a temporary queue of this process, or return another queue for it.

        A task goes to the process that reads the queue, if that is another one. The hub gives a
        fanout message to all clients by one call, which `_broadcast` makes.
        """
        session = self.session
        by_hub = route.type == "fanout" and session.hub is not None
        if route.persistent and not session.memory.is_read(queue) and not by_hub:
            if session.hub is not None and session.broadcaster.publish_by_hub(route.message(text)):
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


def _is_reply(message: dict[str, Any], queue: str) -> bool:
    """Return whether a message answers another one, so that one client alone waits for it."""
    properties = message["properties"]
    answers = properties.get("correlation_id") and "reply_to" not in properties
    return _GENERATED.fullmatch(queue) is not None or (
        bool(answers) and "task" not in message["headers"]
    )
