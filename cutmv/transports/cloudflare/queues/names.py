"""Queue names: turns any name kombu may use into a name Cloudflare accepts, and back.

Cloudflare requires ``^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$``. A name that fits is used as it is. Any
other name is spelled out behind the marker ``q--``:

====================  ======================  =======================
in the name           in the queue's name     example
====================  ======================  =======================
``a``-``z``, digits   themselves              ``video`` → ``video``
``-``                 ``-h``
``.``                 ``-d``                  ``celery.hi`` → ``q--celery-dhi``
``_``                 ``-u``                  ``my_queue`` → ``q--my-uqueue``
``A``-``Z``           ``-c`` and the letter   ``Video`` → ``q---cvideo``
anything else         ``-x``, hex, ``q``      ``é`` → ``q---xe9q``
====================  ======================  =======================

A name that fits but starts with the marker is spelled out too, so no two names become the same.
A name is never cut or hashed: a name whose spelling passes 63 characters is refused. The exception
is a dead-letter queue's name, which can be read from its queue's consumer: a long one becomes
``q---l`` and a digest.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from cutmv.transports.cloudflare.errors import QueueNameError

#: Characters in a queue's name at most (Cloudflare, error 11003).
MAX_LENGTH = 63

#: The start of a name that is spelled out.
SPELLED_PREFIX = "q--"

#: The start of a dead-letter queue's name that would be too long; no spelled-out name starts so.
DIGEST_PREFIX = f"{SPELLED_PREFIX}-l"

#: Hex digits of SHA-256 that follow it.
DIGEST_DIGITS = 32

_VALID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_SHORT = {"-": "-h", ".": "-d", "_": "-u"}
_TOKEN = re.compile(r"([a-z0-9])|-([hdu])|-c([a-z])|-x([0-9a-f]+)q")
_LONG = {short[1]: char for char, short in _SHORT.items()}


#: The start of the name of a priority level's queue; a digit, ``-`` and the name of the queue
#: follow. `encode` gives no other name this start.
LEVEL_PREFIX = f"{SPELLED_PREFIX}-p"

_LEVEL = re.compile(rf"{LEVEL_PREFIX}([1-9])-(.+)")


@dataclass(frozen=True, slots=True)
class PriorityLevel:
    """A priority level of queue `name`: the messages from priority `step` to the next level.

    The queue itself holds the first level.
    """

    name: str
    step: int

    def __repr__(self) -> str:
        return f"{self.name!r} (priority {self.step})"


#: A name that has a queue in the account: kombu's name for a queue, or a priority level of it.
QueueName = str | PriorityLevel


def levels(name: str, steps: Sequence[int]) -> tuple[QueueName, ...]:
    """Return the levels of a queue, most urgent first; they start at the priorities in `steps`."""
    return (name, *(PriorityLevel(name, step) for step in steps[1:]))


def level_of(name: str, steps: Sequence[int], priority: int) -> QueueName:
    """Return the level of a queue that messages of this priority belong to."""
    return levels(name, steps)[bisect(steps, priority) - 1] if steps else name


def read_level(queue_name: str) -> PriorityLevel | None:
    """Return the level that `encode` turned into `queue_name`; none for other queues."""
    found = _LEVEL.fullmatch(queue_name)
    try:
        return PriorityLevel(decode(found[2]), int(found[1])) if found else None
    except QueueNameError:
        return None


def is_valid(name: str) -> bool:
    """Return whether Cloudflare accepts `name` for a queue."""
    return _VALID.fullmatch(name) is not None


def encode(name: QueueName) -> str:
    """Return the Cloudflare name for `name`.

    Raises `QueueNameError` for an empty name, or one whose spelling is too long.
    """
    if isinstance(name, PriorityLevel):
        spelled = f"{LEVEL_PREFIX}{name.step}-{encode(name.name)}"
        if len(spelled) > MAX_LENGTH:
            raise QueueNameError(
                f"queue name {name.name!r} is too long for priorities: Cloudflare allows "
                f"{MAX_LENGTH} characters, and one of its parts takes {len(spelled)} as {spelled!r}"
            )
        return spelled
    if not name:
        raise QueueNameError("a queue needs a name")
    if is_valid(name) and not name.startswith(SPELLED_PREFIX):
        return name
    spelled = SPELLED_PREFIX + spell(name)
    if len(spelled) > MAX_LENGTH:
        raise QueueNameError(
            f"queue name {name!r} is too long: Cloudflare allows {MAX_LENGTH} characters, and it "
            f"takes {len(spelled)} as {spelled!r}; use a shorter one of a-z, 0-9 and -"
        )
    return spelled


def decode(queue_name: str) -> str:
    """Return the name that `encode` turned into `queue_name`.

    Raises `QueueNameError` for a name that `encode` never gives.
    """
    if not queue_name.startswith(SPELLED_PREFIX):
        name = queue_name
    else:
        name = unspell(queue_name.removeprefix(SPELLED_PREFIX))
    if not name or encode(name) != queue_name:
        raise QueueNameError(f"{queue_name!r} is no name this transport gives")
    return name


def encode_prefixed(prefix: str, name: QueueName) -> str:
    """Return the Cloudflare name for `name` behind a `queue_name_prefix`; raises as `encode`."""
    if isinstance(name, PriorityLevel):
        return encode(PriorityLevel(prefix + name.name, name.step))
    return encode(prefix + name)


def decode_prefixed(prefix: str, queue_name: str) -> QueueName | None:
    """Return what `encode_prefixed` turned into `queue_name`; none if it never gives that."""
    level = read_level(queue_name)
    try:
        name = level.name if level else decode(queue_name)
    except QueueNameError:
        return None
    if not name.startswith(prefix) or name == prefix:
        return None
    name = name.removeprefix(prefix)
    return PriorityLevel(name, level.step) if level else name


def dead_letter_name(queue_name: str, pattern: str) -> str:
    """Return the Cloudflare name of the dead-letter queue of the queue `queue_name`.

    `pattern` holds ``{queue}``, which stands for the name that `encode` turned into `queue_name`.
    A queue must be possible to create however long its dead-letter queue's name would be, so the
    name is hashed where `encode` would refuse it.
    """
    part = read_level(queue_name)
    name = pattern.replace("{queue}", part.name if part else decode(queue_name))
    dead: QueueName = PriorityLevel(name, part.step) if part else name
    try:
        return encode(dead)
    except QueueNameError:
        text = f"{name}\0{part.step}" if part else name
        return DIGEST_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]


def spell(text: str) -> str:
    """Return `text` in the characters of a queue's name; see the table above."""
    return "".join(map(_spell, text))


def unspell(spelled: str) -> str:
    """Return the text that `spell` turned into `spelled`; raises `QueueNameError` for any other."""
    text, end = "", 0
    while match := _TOKEN.match(spelled, end):
        text, end = text + _read(match), match.end()
    if end != len(spelled):
        raise QueueNameError(f"{spelled!r} is no name this transport gives")
    return text


def _spell(char: str) -> str:
    if char in _PLAIN:
        return char
    if char in _SHORT:
        return _SHORT[char]
    if "A" <= char <= "Z":
        return f"-c{char.lower()}"
    return f"-x{ord(char):x}q"


def _read(token: re.Match[str]) -> str:
    plain, short, capital, code = token.groups()
    if plain:
        return plain
    if short:
        return _LONG[short]
    if capital:
        return capital.upper()
    point = int(code, 16)
    # There are no characters past Unicode's end; `decode` refuses such a name.
    return chr(point) if point <= 0x10FFFF else ""
