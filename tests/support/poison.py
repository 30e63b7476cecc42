"""Messages that nobody should send: envelopes of tasks with one thing or many changed."""

from __future__ import annotations

import base64
import bz2
import contextlib
import json
import lzma
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

from kombu import compression

Message = dict[str, Any]

#: What a part of a message is replaced by.
NONSENSE: tuple[Any, ...] = (
    None, True, 0, -1, 2**70, 1e308, float("nan"), float("inf"), "", "x", "\ud800", "\0", "ab",
    "é" * 50, [], [1], [[]], {}, {"a": {}}, {"__type__": "bytes", "__value__": 5},
    {"__type__": "datetime", "__value__": "never"}, [None, "x"], [float("nan"), 1],
)  # fmt: skip


def task(name: str = "tests.support.transport_app.record", *args: Any) -> Message:
    """A task's envelope as the transport writes it."""
    task_id = str(uuid4())
    return {
        "body": json.dumps([list(args), {}, dict.fromkeys(
            ("callbacks", "errbacks", "chain", "chord"))]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py", "task": name, "id": task_id, "shadow": None, "eta": None,
            "expires": None, "group": None, "group_index": None, "retries": 0,
            "timelimit": [None, None], "root_id": task_id, "parent_id": None, "argsrepr": "()",
            "kwargsrepr": "{}", "origin": "me", "ignore_result": True,
            "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
        },
        "properties": {
            "correlation_id": task_id, "reply_to": str(uuid4()), "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "work"}, "priority": 0,
            "body_encoding": "utf-8",
        },
        "id": str(uuid4()),
    }  # fmt: skip


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def _packed(kind: str, data: bytes) -> Callable[[Message], None]:
    def change(message: Message) -> None:
        message["headers"]["compression"] = kind
        message["properties"]["body_encoding"] = "base64"
        message["body"] = base64.b64encode(data).decode()

    return change


def _at(*path: str, value: Any) -> Callable[[Message], None]:
    def change(message: Message) -> None:
        part = message
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value

    return change


def _without(*path: str) -> Callable[[Message], None]:
    def change(message: Message) -> None:
        part = message
        for key in path[:-1]:
            part = part[key]
        del part[path[-1]]

    return change


def _more_bombs(zeros: bytes) -> Iterator[tuple[str, bytes]]:
    """Bombs by what kombu takes where it is installed."""
    for name in ("brotli", "zstd"):
        with contextlib.suppress(KeyError):
            yield name, compression.get_encoder(name)[0](zeros)


def changes() -> dict[str, Callable[[Message], None]]:
    """Changes that were found to hurt somebody, by what they are."""
    zeros = b"\0" * 300_000_000
    return {
        "bad base64": lambda m: m["properties"].update(body_encoding="base64"),
        "unknown body_encoding": _at("properties", "body_encoding", value="rot13"),
        "body_encoding is a list": _at("properties", "body_encoding", value=["base64"]),
        "unknown content-encoding": _at("content-encoding", value="klingon"),
        "content-encoding is no text's": _at("content-encoding", value="zlib"),
        "content-encoding is a number": _at("content-encoding", value=8),
        "content-type is a list": _at("content-type", value=["application/json"]),
        "content-type is nobody's": _at("content-type", value="application/x-nobody"),
        "content-type is a pickle's": _at("content-type", value="application/x-python-serialize"),
        "body is no JSON": _at("body", value="{"),
        "body is an object": _at("body", value={"args": []}),
        "body is null": _at("body", value=None),
        "body is a number": _at("body", value="7"),
        "body is a text with args": _at("body", value='"has args in it"'),
        "body is a pair": _at("body", value="[[], {}]"),
        "body embeds a list": _at("body", value="[[], {}, [1]]"),
        "body embeds nonsense": _at("body", value='[[1], {}, {"callbacks": 7, "chain": [3]}]'),
        "body's arguments are a number": _at("body", value="[7, 8, {}]"),
        "body has a lone surrogate": _at("body", value="\ud800"),
        "body is nested": _at("body", value="[" * 40_000 + "]" * 40_000),
        "headers are nested": _at("headers", "deep", value=nested(400)),
        "id is a list": _at("headers", "id", value=[1]),
        "shadow is a list": _at("headers", "shadow", value=[[]]),
        "id is an object": _at("headers", "id", value={}),
        "task is a list": _at("headers", "task", value=["x"]),
        "task is unknown": _at("headers", "task", value="nobody.knows"),
        "eta is garbage": _at("headers", "eta", value="tomorrow"),
        "eta is a number": _at("headers", "eta", value=17),
        "eta is at the world's begin": _at("headers", "eta", value="0001-01-01T00:00:00+23:59"),
        "expires is garbage": _at("headers", "expires", value="never"),
        "expires is a list": _at("headers", "expires", value=[1]),
        "retries is text": _at("headers", "retries", value="many"),
        "timelimit is text": _at("headers", "timelimit", value="long"),
        "timelimit is a pair of texts": _at("headers", "timelimit", value=["a", "b"]),
        "timelimit is NaN": _at("headers", "timelimit", value=[float("nan"), float("nan")]),
        "timelimit is a triple": _at("headers", "timelimit", value=[1, 2, 3]),
        "stamps are a list": _at("headers", "stamps", value=[1]),
        "headers are a list": _at("headers", value=[1]),
        "properties are a list": _at("properties", value=[1]),
        "delivery_info is a list": _at("properties", "delivery_info", value=[1]),
        "message_id is a list": _at("properties", "message_id", value=[1]),
        "correlation_id is a number": _at("properties", "correlation_id", value=5),
        "reply_to is a list": _at("properties", "reply_to", value=[1]),
        "unknown compression": _at("headers", "compression", value="x-nobody"),
        "compression is a list": _at("headers", "compression", value=["zlib"]),
        "compression is a lie": _at("headers", "compression", value="application/x-gzip"),
        "a bomb of zlib": _packed("zlib", zlib.compress(zeros, 1)[:90_000]),
        "a bomb of bzip2": _packed("bzip2", bz2.compress(zeros, 1)),
        "a bomb of lzma": _packed("lzma", lzma.compress(zeros, preset=0)),
        "a bomb of several streams": _packed("bzip2", bz2.compress(b"x") + bz2.compress(zeros, 1)),
        **{f"a bomb of {name}": _packed(name, bomb) for name, bomb in _more_bombs(zeros)},
        "no id": _without("headers", "id"),
        "no task": _without("headers", "task"),
        "no headers": _without("headers"),
        "no properties": _without("properties"),
        "no body": _without("body"),
    }  # fmt: skip


def texts() -> list[str]:
    """What is no envelope at all, or one with a change."""
    changed = []
    for change in changes().values():
        message = task("tests.support.transport_app.record", "poison")
        change(message)
        changed.append(json.dumps(message))
    old = {"task": "tests.support.transport_app.record", "id": [1], "args": 5, "timelimit": "x"}
    for body in (old, {**old, "id": "1", "args": []}, {"task": 5}, []):
        message = task()
        message["headers"] = {}
        message["body"] = json.dumps(body)
        changed.append(json.dumps(message))
    return [*changed, "", "x", "{}", "[]", "null", "7", "NaN", "[" * 60_000, '{"body": 1}']


def mutated(dice: random.Random) -> str:
    """A task's envelope in which something anywhere is nonsense."""
    message = task("tests.support.transport_app.record", "poison")
    for _ in range(dice.randint(1, 3)):
        part, key = dice.choice(list(_parts(message)))
        if dice.random() < 0.2:
            part.pop(key, None)
        else:
            part[key] = dice.choice(NONSENSE)
    return json.dumps(message)


def _parts(message: Message) -> Iterator[tuple[Message, str]]:
    for key, value in message.items():
        yield message, key
        if isinstance(value, dict):
            yield from _parts(value)
