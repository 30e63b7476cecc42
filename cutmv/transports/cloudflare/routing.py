"""Publishing through exchanges: who is bound, in this process and others, and what they get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.transport import virtual
from kombu.utils.uuid import uuid

from cutmv.transports.cloudflare import MAX_PUSHED
from cutmv.transports.cloudflare.errors import TaskTooLong
from cutmv.transports.cloudflare.fanout.broadcaster import Notice
from cutmv.transports.cloudflare.fanout.memory import Binding
from cutmv.transports.cloudflare.fanout.temporary_queue import Binding as Bound
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.messages import eta as delays
from cutmv.transports.cloudflare.producer import batch
from cutmv.transports.cloudflare.producer.group_commit import Outgoing
from cutmv.transports.cloudflare.queues import names
from cutmv.transports.cloudflare.queues.bindings import Address
from cutmv.transports.cloudflare.session import Session

if TYPE_CHECKING:
    from cutmv.transports.cloudflare.transport import Transport

#: AMQP's delivery mode of messages that are to be kept.
PERSISTENT = 2


class ExchangeChannel(virtual.Channel):
    """Binds queues and routes messages by tables that all processes see (`routes`, `mailboxes`)."""

    connection: Transport

    supports_fanout = True

    @property
    def session(self) -> Session:
        """What this process shares with the account."""
        return self.connection.session

    def get_table(self, exchange: str) -> list[Binding]:  # type: ignore[override]
        """Return an exchange's bindings: this connection's, and those of temporary queues."""
        declared = (self.state.exchanges or {}).get(exchange)
        own = declared["table"] if declared else []
        return [*own, *self.session.local.table(exchange)]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        """Do nothing: kombu asks once for each binding, and an expired mailbox must come back."""

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
        if session.local.has(queue):
            meta: Any = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
            session.local.bind(exchange, meta)
            bound = Bound(exchange, self._kind(exchange), routing_key, queue)
            session.mailboxes.open(bound, session.local.expires(queue))
        else:
            session.routes.bind(exchange, self._kind(exchange), routing_key, queue)

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
        meta: Any = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
        declared = (self.state.exchanges or {}).get(exchange)
        if declared is not None:
            declared["table"][:] = [row for row in declared["table"] if row != meta]
        session, kind = self.session, self._kind(exchange)
        if session.local.has(queue):
            session.local.unbind(exchange, meta)
            session.mailboxes.close(queue, Bound(exchange, kind, routing_key, queue))
        else:
            session.routes.unbind(exchange, kind, routing_key, queue)

    def _kind(self, exchange: str) -> str:
        return str(self.typeof(exchange).type)

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        """Return the queues for a message, bound by this process or by another."""
        if not exchange:
            return [routing_key]
        table: Any = self.get_table(exchange)
        own = self.typeof(exchange).lookup(table, exchange, routing_key, default)
        shared = self.session.routes.targets(exchange, self._kind(exchange), routing_key)
        return list({*own, *shared})

    def _put_fanout(
        self,
        exchange: str,
        message: dict[str, Any],
        routing_key: str,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        bound = {binding[2] for binding in self.get_table(exchange)}
        for queue in bound.union(self.session.routes.targets(exchange, "fanout", "")):
            self._put(queue, message, at_once=True, **kwargs)

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> None:
        """Publish: to queues that are bound here, and to other processes' temporary ones."""
        session, broadcaster, lasting = self.session, self.session.broadcaster, _is_lasting(message)
        if not exchange:
            if self._has_queue_for(routing_key, lasting):
                super().basic_publish(message, exchange, routing_key, **kwargs)
                return
            # A result, say, for another process's temporary queue. It is not left to a thread:
            # a pool's process may end right after it.
            self._inplace_augment_message(message, exchange, routing_key)
            notice = Notice("", "direct", routing_key, envelope.encode(message))
            if not broadcaster.deliver(notice) and lasting:
                self._put(routing_key, message)  # which says that there is no such queue
            return
        if lasting and not self._lookup(exchange, routing_key):
            session.routes.refresh()
        super().basic_publish(message, exchange, routing_key, **kwargs)
        kind = self._kind(exchange)
        # A direct message that was routed here is a task; one that was not may be a reply.
        if kind == "direct":
            broadcaster.freshen()
            wanted = not self._lookup(exchange, routing_key) and session.options.fanout
        else:
            wanted = broadcaster.wants(exchange, kind)
        if wanted:
            notice = Notice(exchange, kind, routing_key or "", envelope.encode(message))
            if lasting:
                broadcaster.deliver(notice)  # who publishes a task hears that it failed
            else:
                broadcaster.send(notice)

    def _has_queue_for(self, routing_key: str, lasting: bool) -> bool:
        """Tell whether a message to the default exchange is for a queue that is known here."""
        session = self.session
        if not session.options.fanout or session.local.has(routing_key):
            return True
        if session.queues.knows(routing_key):
            return True
        if not lasting:
            return False
        found = session.queues.find(routing_key)  # which lists anew what it does not know
        return found is not None or not session.broadcaster.reaches("", "direct", routing_key)

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
        at_once: bool = False,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        session = self.session
        part: names.Named | Address | None
        if session.local.has(queue):
            part = None
            if self._is_for_elsewhere(queue, message):
                info = message["properties"]["delivery_info"]
                exchange, key = str(info["exchange"] or ""), str(info["routing_key"] or "")
                kind = self._kind(exchange) if exchange else "direct"
                if session.broadcaster.by_hub(
                    Notice(exchange, kind, key, envelope.encode(message))
                ):
                    return
                part = session.mailboxes.address(queue, exchange)
            if part is None:
                session.local.put(queue, message)
                return
        else:
            priority = self._get_message_priority(message)
            part = names.band(queue, session.options.priority_steps, priority)
            self._check_time_limit(queue, part, message)
        name = str(message["headers"].get("id") or message["id"])
        text = session.large.fit(envelope.encode(message))
        outgoing = Outgoing(text, delays.due_at(message), name)
        gathering = None if at_once else batch.current(session)
        if gathering is not None:
            gathering.add(part, outgoing)
        else:
            session.publisher(part).publish([outgoing])

    def _check_time_limit(self, queue: str, part: names.Named, message: dict[str, Any]) -> None:
        """Raise `TaskTooLong` where the task may take longer than a Worker can wait for it."""
        limits = message["headers"].get("timelimit") or ()
        longest = max((limit for limit in limits if limit), default=0)
        if longest <= MAX_PUSHED:
            return
        found = self.session.queues.find(part)
        if found is not None and found.consumer == "worker":
            raise TaskTooLong(
                f"queue {queue!r} is pushed by a Worker, which waits {MAX_PUSHED:.0f} s for a task "
                f"at most, and this one's time limit is {longest:g} s: lower it, or send the task "
                f"to a queue that is pulled from"
            )

    def _is_for_elsewhere(self, queue: str, message: dict[str, Any]) -> bool:
        """Tell whether a message to a temporary queue of this process may be another's to read.

        A task is, unless the queue is read here. Of a fanout each process has a copy of its own.
        """
        exchange = message["properties"]["delivery_info"]["exchange"]
        if not _is_lasting(message) or self.session.local.is_read(queue):
            return False
        return not (exchange and self._kind(exchange) == "fanout")


def _is_lasting(message: dict[str, Any]) -> bool:
    """Tell whether a message is to outlive a broker's restart: a task, no event and no command."""
    return bool(message["properties"].get("delivery_mode") == PERSISTENT)
