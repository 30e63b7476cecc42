"""The names of mailboxes: queues of the account that stand for bindings of temporary queues.

Cloudflare Queues has no exchanges. A temporary queue that is bound to one gets a *mailbox*, a
queue whose name says to which exchange and by which key, so that the account's list of queues is
the table of bindings, seen by every process::

    q---t EXCHANGE - QUEUE - KEY

EXCHANGE and QUEUE are ten hex digits of a SHA-256. KEY is ``k`` and the routing key as `names`
spells it; where that is too long, ``h`` and a digest of it, or, for a topic's pattern, ``a``: the
mailbox then gets all of the exchange, and its reader leaves out what does not match. `names`
gives no name that starts so.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cutmv.transports.cloudflare import names

#: What the name of every mailbox starts with.
MAILBOX = f"{names.MARKER}-t"

#: Hex digits that stand for an exchange or a queue, and for a key that is too long.
DIGITS, KEY_DIGITS = 10, 24

#: Characters left for a key.
_KEY_LENGTH = names.MAX_LENGTH - len(MAILBOX) - 2 * (DIGITS + 1)

_NAME = re.compile(rf"{MAILBOX}([0-9a-f]{{{DIGITS}}})-([0-9a-f]{{{DIGITS}}})-([kha][a-z0-9-]*)")


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox: digests of exchange and queue, and the key as the name has it."""

    exchange: str
    queue: str
    key: str

    @property
    def name(self) -> str:
        """The name of the queue in the account."""
        return f"{MAILBOX}{self.exchange}-{self.queue}-{self.key}"

    @classmethod
    def of(cls, scope: str, exchange: str, kind: str, key: str, queue: str) -> Address:
        """Return where a binding's messages go.

        `scope` keeps apart those who share an account (`queue_name_prefix`), `kind` is the
        exchange's type, `key` the binding's routing key or, for a topic, its pattern.
        """
        return cls(exchange_digest(scope, exchange), _digest(queue, DIGITS), _key(kind, key))

    @classmethod
    def read(cls, name: str) -> Address | None:
        """Return the mailbox of this name, or none if it is an ordinary queue's."""
        found = _NAME.fullmatch(name)
        return cls(*found.groups()) if found else None

    def takes(self, kind: str, routing_key: str) -> bool:
        """Tell whether a message of an exchange of type `kind` goes here."""
        if kind == "fanout":
            return True
        if kind == "direct":
            return self.key == _key(kind, routing_key)
        return self.key == "a" or matches(names.unspell(self.key[1:]), routing_key)


def exchange_digest(scope: str, exchange: str) -> str:
    """Return the part of an address that stands for the exchange."""
    return _digest(f"{scope}\0{exchange}", DIGITS)


def matches(pattern: str, routing_key: str) -> bool:
    """Tell whether a topic's pattern has the key: ``*`` is one word, ``#`` any number of them."""
    return _match(pattern.split("."), routing_key.split("."))


def _match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])


def _key(kind: str, key: str) -> str:
    spelled = "k" + names.spell(key)
    if len(spelled) <= _KEY_LENGTH:
        return spelled
    return "a" if kind == "topic" else "h" + _digest(key, KEY_DIGITS)


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
