"""Bindings, and the binding queues whose names encode them, so that every process sees them.

Cloudflare Queues has no exchanges. So a binding is a queue of the account, whose name says to which
exchange a queue is bound and by which key: the account's list of queues is the table of bindings.
The binding queue of a temporary queue (exclusive or auto-delete) also carries its messages:
publishers put them there, and the process of the temporary queue pulls them. The binding queue of a
durable queue never holds a message, since publishers put these into the durable queue itself::

    q---t EXCHANGE - QUEUE - KEY        the binding of a temporary queue
    q---b EXCHANGE - QUEUE - KEY        the binding of a durable queue

EXCHANGE and QUEUE are ten hex digits of a SHA-256. KEY also tells the exchange's type, so that a
process that never declared the exchange can publish to it:

- direct: ``k`` and the routing key as `names` spells it, or ``h`` and a digest of one that is too
  long
- topic: ``t`` and the pattern, or ``a`` for one that is too long: the temporary queue's process
  then gets all messages of the exchange, and drops those that do not match
- fanout: ``f``, since keys do not count there

`names` gives these starts to no other name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar, Self

from cutmv.transports.cloudflare.queues import names

#: Hex digits that stand for an exchange or a queue, and for a key that is too long.
NAME_DIGITS, KEY_DIGITS = 10, 24

#: Characters in a marker, and those left for a key.
_MARKER_LENGTH = len(names.SPELLED_PREFIX) + 2
_KEY_LENGTH = names.MAX_LENGTH - _MARKER_LENGTH - 2 * (NAME_DIGITS + 1)

_NAME = re.compile(rf"([0-9a-f]{{{NAME_DIGITS}}})-([0-9a-f]{{{NAME_DIGITS}}})-([khtaf][a-z0-9-]*)")

#: The type of the exchange, by the first letter of a binding queue's key.
_TYPES = {"k": "direct", "h": "direct", "t": "topic", "a": "topic", "f": "fanout"}


@dataclass(frozen=True, slots=True)
class Binding:
    """A queue's binding to an exchange of this type, by its key: AMQP's routing key, or pattern."""

    exchange: str
    type: str
    key: str
    queue: str

    @property
    def pattern(self) -> str | None:
        """The pattern that a routing key must match; none unless the exchange is a topic's."""
        return self.key if self.type == "topic" else None


@dataclass(frozen=True, slots=True, repr=False)
class _BindingName:
    """The parts of a binding queue's name: digests of exchange and queue, and the encoded key."""

    #: The start of the name.
    marker: ClassVar[str]

    exchange: str
    queue: str
    key: str

    @property
    def name(self) -> str:
        """The name of the queue in the account."""
        return f"{self.marker}{self.exchange}-{self.queue}-{self.key}"

    def __repr__(self) -> str:
        return repr(self.name)

    @classmethod
    def of(cls, scope: str, binding: Binding) -> Self:
        """Return the binding queue's name for a binding.

        `scope` (`queue_name_prefix`) keeps apart the applications that share an account.
        """
        return cls(
            exchange_digest(scope, binding.exchange),
            queue_digest(scope, binding.queue),
            _key(binding.type, binding.key),
        )

    @classmethod
    def read(cls, name: str) -> Self | None:
        """Return the parts of this name, or none if it is the name of another kind of queue."""
        found = _NAME.fullmatch(name, len(cls.marker)) if name.startswith(cls.marker) else None
        return cls(*found.groups()) if found else None

    @property
    def type(self) -> str:
        """The type of the exchange."""
        return _TYPES[self.key[0]]

    @property
    def routing_key(self) -> str:
        """The routing key or pattern; of one that is too long the digest, or `#` for a pattern."""
        if self.key[0] in "kt":
            return names.unspell(self.key[1:])
        return "#" if self.key == "a" else self.key[1:]

    def takes(self, routing_key: str) -> bool:
        """Return whether a message of the exchange with this key matches the binding."""
        if self.type == "direct":
            return self.key == _key("direct", routing_key)
        if self.key in ("f", "a"):
            return True
        return matches(self.routing_key, routing_key)


@dataclass(frozen=True, slots=True, repr=False)
class TemporaryBinding(_BindingName):
    """The binding queue of a temporary queue, which carries its messages."""

    marker: ClassVar[str] = f"{names.SPELLED_PREFIX}-t"


@dataclass(frozen=True, slots=True, repr=False)
class DurableBinding(_BindingName):
    """The binding queue of a durable queue."""

    marker: ClassVar[str] = f"{names.SPELLED_PREFIX}-b"

    @property
    def tells_all(self) -> bool:
        """Whether the name has the whole key, or a digest of it, which identifies it as well."""
        return self.key != "a"


def stands_for_binding(name: str) -> bool:
    """Return whether a queue of the account is a binding queue, and so no queue of tasks."""
    return bool(TemporaryBinding.read(name) or DurableBinding.read(name))


def queue_digest(scope: str, queue: str) -> str:
    """Return the part of a binding queue's name that stands for a queue of this kombu name."""
    return _digest(f"{scope}\0{queue}", NAME_DIGITS)


def exchange_digest(scope: str, exchange: str) -> str:
    """Return the part of a binding queue's name that stands for the exchange."""
    return _digest(f"{scope}\0{exchange}", NAME_DIGITS)


def matches(pattern: str, routing_key: str) -> bool:
    """Return whether a key matches a topic's pattern: ``*`` is one word, ``#`` any number."""
    return _match(pattern.split("."), routing_key.split("."))


def _match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])


def _key(exchange_type: str, key: str) -> str:
    if exchange_type == "fanout":
        return "f"
    spelled = ("t" if exchange_type == "topic" else "k") + names.spell(key)
    if len(spelled) <= _KEY_LENGTH:
        return spelled
    return "a" if exchange_type == "topic" else "h" + _digest(key, KEY_DIGITS)


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
