"""Exchanges and bindings, as kombu declares them: every process sees them (see `queues.bindings`).

An exchange has no place of its own: it is known by the processes that declared it, and by the
bindings to it, whose names tell its type. So a process may publish to an exchange that only others
have declared, as Celery does with a route to a `kombu.common.Broadcast` queue.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Generator
from typing import Any, Protocol

from kombu.exceptions import ChannelError
from kombu.transport import virtual

from cutmv.transports.cloudflare.consumer import Poller, PushConsumer, ReadyQueue, Recipient
from cutmv.transports.cloudflare.errors import ConfigurationError, Unreachable
from cutmv.transports.cloudflare.fanout import TableRow
from cutmv.transports.cloudflare.queues import Binding
from cutmv.transports.cloudflare.queues import arguments as queue_arguments
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: The exchanges that AMQP has without a declaration, and their types.
_BUILT_IN = {"amq.direct": "direct", "amq.topic": "topic", "amq.fanout": "fanout"}

#: The exchange to which a queue is bound that names none.
_UNNAMED = "amq.direct"


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


def precondition_failed(why: str, method: str) -> ChannelError:
    """Return AMQP's error for a deletion that its caller wants only under a condition."""
    return ChannelError(f"PRECONDITION_FAILED - {why}", (50, 10), method, 406)


class ExchangeChannel(virtual.Channel):
    """Declares exchanges, and binds queues to them.

    Attributes:
        events: The callbacks of kombu's producers, by event: ``basic_return`` alone.
    """

    connection: Connection  # type: ignore[assignment]

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.events: defaultdict[str, set[Callable[..., object]]] = defaultdict(set)

    supports_fanout = True

    @property
    def session(self) -> Session:
        """This process's session with the account.

        Raises `Unreachable` once the channel is closed. kombu goes on to use one that a declaration
        closed, when this met an error within a publish; at this error it takes its new channel.
        """
        transport: Connection | None = self.connection
        if transport is None:
            raise Unreachable("the channel is closed, since its connection met an error")
        return transport.session

    # Exchanges.

    @property
    def _exchanges(self) -> dict[str, dict[str, Any]]:
        """The exchanges that this connection has declared, as kombu keeps them."""
        return self.connection.state.exchanges  # type: ignore[no-any-return]

    def exchange_declare(  # noqa: PLR0917
        self,
        exchange: str | None = None,
        type: str | None = "direct",
        durable: bool = False,
        auto_delete: bool = False,
        arguments: dict[str, Any] | None = None,
        nowait: bool = False,
        passive: bool = False,
    ) -> None:
        """Note an exchange and its type; with `passive`, raise if no process has it.

        Raises `ConfigurationError` for a type that is neither direct, topic nor fanout.
        """
        kind = type or "direct"
        if kind not in self.exchange_types:
            raise ConfigurationError(
                f"cloudflare transport: exchange {exchange!r} can't be of type {kind!r}: there are "
                f"direct, topic and fanout exchanges"
            )
        if passive and exchange and self._known_type(exchange):
            return
        queue_arguments.tell_otherwise(self.session.told, f"exchange {exchange!r}", arguments)
        super().exchange_declare(exchange, kind, durable, auto_delete, arguments, nowait, passive)
        self.session.memory.declare_exchange(exchange or f"amq.{kind}", kind)

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False) -> None:  # noqa: ARG002
        """Delete an exchange and its bindings, and no queue.

        With `if_unused`, raises `ChannelError` if a queue is bound to it.
        """
        session = self.session
        rows, digests = self.get_table(exchange), session.binding_table.markers(exchange)
        if if_unused and (rows or digests):
            raise precondition_failed(
                f"exchange {exchange!r} has bindings", "Channel.exchange_delete"
            )
        for key, _, queue in rows:
            self.queue_unbind(queue, exchange, key)
        session.binding_table.drop_exchange(exchange)
        self._forget_exchange(exchange)

    def exchange_bind(self, destination: str, source: str = "", *_: Any, **__: Any) -> None:
        """Refuse a binding between exchanges: messages are routed once."""
        raise NotImplementedError(
            f"cloudflare transport: exchange {destination!r} can't be bound to exchange "
            f"{source!r}: bind its queues to {source!r}"
        )

    exchange_unbind = exchange_bind

    def typeof(self, exchange: str, default: str = "direct") -> Any:
        """Return kombu's object for the type of an exchange; see `_known_type`."""
        return self.exchange_types[self._known_type(exchange) or default]

    def _type(self, exchange: str) -> str:
        return self._known_type(exchange) or "direct"

    def _known_type(self, exchange: str) -> str | None:
        """Return the type of an exchange, if a declaration here or a binding anywhere tells it."""
        declared = self._exchanges.get(exchange)
        if declared is not None:
            return str(declared["type"])
        session = self.session
        return (
            session.memory.exchange_type(exchange)
            or _BUILT_IN.get(exchange)
            or session.binding_table.exchange_type(exchange)
        )

    def _forget_exchange(self, exchange: str) -> None:
        self._exchanges.pop(exchange, None)
        self.session.memory.delete_exchange(exchange)

    def _unbound_from(self, exchange: str) -> None:
        """Forget an auto-delete exchange when its last binding is gone."""
        declared = self._exchanges.get(exchange)
        if declared is not None and declared["auto_delete"] and not self.get_table(exchange):
            self._forget_exchange(exchange)

    # Bindings.

    def get_table(self, exchange: str) -> list[TableRow]:  # type: ignore[override]
        """Return the bindings of an exchange that this process alone sees, or reads."""
        return self.session.memory.table(exchange)

    def list_bindings(self) -> Generator[tuple[str, str, str]]:
        """Yield the bindings to exchanges declared here, of any process: queue, exchange, key."""
        for exchange in list(self._exchanges):
            for key, _, queue in self.get_table(exchange):
                yield queue, exchange, key
            for queue, key in self.session.binding_table.rows(exchange, self._type(exchange)):
                yield queue, exchange, key

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Bind a queue to an exchange, so that other processes see it."""
        session = self.session
        binding, row = self._binding(queue, exchange, routing_key, arguments)
        if session.memory.has(queue):
            session.memory.bind(binding.exchange, row)
            session.temporary_queues.bind(binding, session.memory.expires(queue))
        elif not session.binding_table.bind(binding):
            session.memory.bind(binding.exchange, row)

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Remove a binding."""
        session = self.session
        binding, row = self._binding(queue, exchange, routing_key, arguments)
        session.memory.unbind(binding.exchange, row)
        if session.memory.has(queue):
            session.temporary_queues.unbind(queue, binding)
        else:
            session.binding_table.unbind(binding)
        self._unbound_from(binding.exchange)

    def _binding(
        self,
        queue: str,
        exchange: str | None,
        routing_key: str,
        arguments: dict[str, Any] | None,
    ) -> tuple[Binding, TableRow]:
        """Return a binding, and kombu's row for it."""
        exchange = exchange or _UNNAMED
        kind = self._type(exchange)
        key = "" if kind == "fanout" else routing_key or ""
        of_type: Any = self.exchange_types[kind]
        row: TableRow = of_type.prepare_bind(queue, exchange, key, arguments)
        return Binding(exchange, kind, key, queue), row

    def _return(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        """Give a mandatory message that is for no queue back to its producers' ``on_return``."""
        properties = {**message["properties"], "delivery_tag": message["id"]}
        returned = self.Message({**message, "properties": properties}, channel=self)
        why = f"NO_ROUTE - no queue of exchange {exchange!r} takes {routing_key!r}"
        for callback in self.events["basic_return"]:
            callback(
                ChannelError(why, (60, 40), "Basic.return", 312), exchange, routing_key, returned
            )
        if not self.events["basic_return"]:
            logger.warning("cloudflare: a mandatory message is dropped, without on_return: %s", why)
