"""Messages over Cloudflare's limit: compressed where that is enough, else kept as an object.

The object holds the message's whole text, and is written before the queue gets an object reference
in the message's place (a *claim check*). A reference is an envelope without a body: a few headers,
and ``large``, which says where the object is. The object is removed once the message's ack is
accepted. So a crash leaves objects without a message, never a message without its object; objects
that are left over expire by a rule that `ClaimChecks` sets.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cutmv.transports.cloudflare.errors import MessageTooLarge, ObjectStoreError, PublishFailed
from cutmv.transports.cloudflare.messages import envelope, expiry, poison
from cutmv.transports.cloudflare.messages.envelope import Undecodable
from cutmv.transports.cloudflare.messages.limits import MAX_MESSAGE, size
from cutmv.transports.cloudflare.messages.object_keys import (
    LARGE_MESSAGES,
    is_large_message_key,
    new_large_message_key,
)
from cutmv.transports.cloudflare.messages.object_store import ObjectStore
from cutmv.transports.cloudflare.messages.stores import opener
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.runtime import BackgroundThread, in_parallel

logger = logging.getLogger(__name__)

#: Days after which an object expires, and seconds after which one whose message is published
#: again (a long delay) is written again: 7 days, and the 14 that a queue keeps a message at most.
OBJECT_EXPIRE_DAYS, OBJECT_RENEW_AFTER = 30, 7 * 86_400

#: Objects that one pull reads concurrently.
OBJECT_READERS = 8

#: Headers that a reference repeats: those that intake or a listing needs before the object is read.
REFERENCE_HEADERS = ("id", "task", "eta", "expires")

Message = dict[str, Any]
Claim = tuple[Mapping[str, Any], Message]


def is_reference(message: Mapping[str, Any]) -> bool:
    """Return whether a message that was pulled and decoded is an object reference."""
    return "large" in message and not message["body"]


def key_of(message: Mapping[str, Any]) -> str | None:
    """Return the key of the object that `message` refers to or came from; none if there is none."""
    large = message.get("large")
    key = large.get("key") if isinstance(large, dict) else None
    # A foreign message on the queue must not have other objects read, or removed.
    return key if isinstance(key, str) and is_large_message_key(key) else None


def _nowhere() -> ObjectStore:
    raise ObjectStoreError("the transport option large_messages is not set")


class ClaimChecks:
    """Makes messages fit, and reads them back. Threads share it; its own thread removes objects."""

    def __init__(self, options: Options, account_id: str) -> None:
        self._compression = options.compression
        self._url = options.large_messages.rstrip("/")
        self._open = opener(self._url, account_id) if self._url else _nowhere
        self._lock = threading.Lock()
        self._objects: ObjectStore | None = None
        self._ruled = False
        self._ended: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = BackgroundThread("objects", self._clean_up, lambda: self._ended.put(None))

    def fit(self, text: str) -> str:
        """Return the text to publish for an envelope: itself, compressed, or an object reference.

        Raises `MessageTooLarge` where no store is set for it, and `PublishFailed` where the store
        does not accept it.
        """
        if size(text) <= MAX_MESSAGE:
            return text
        message = json.loads(text)
        compressed = envelope.compressed(message, self._compression) or text
        if size(compressed) <= MAX_MESSAGE:
            return compressed
        if not self._url:
            raise MessageTooLarge(
                f"message of {size(text):,} bytes, {size(compressed):,} when compressed: Cloudflare"
                f" takes {MAX_MESSAGE:,} at most; set the transport option large_messages to "
                f"have such messages kept in R2, or put the data in storage and send where it is"
            )
        try:
            return self._store(compressed, message)
        except ObjectStoreError as error:
            raise PublishFailed(f"a message of {len(text):,} characters: {error}") from None

    def read(self, entry: Mapping[str, Any], reference: Message) -> Message:
        """Return the message for which an entry of a pull has the object reference.

        Raises `ObjectMissing` and `Undecodable`, which are final, and `ObjectStoreError`.
        """
        key = key_of(reference)
        if key is None:
            raise Undecodable("it refers to no object of ours")
        try:
            text = self._opened(reference).get(key).data.decode()
        except UnicodeDecodeError:
            raise Undecodable("its object is not text") from None
        message = envelope.decode({**entry, "body": text, "metadata": None})
        poison.check(message)
        return {**message, "large": reference["large"]}

    def read_all(self, claims: Sequence[Claim]) -> list[Message | Exception]:
        """Return, for each claim, the message or what `read` raised."""
        return in_parallel("reader", OBJECT_READERS, lambda claim: self.read(*claim), claims)

    def renew(self, message: Message, text: str) -> str:
        """Return the text to publish a message anew, and write its object again if it is old.

        Raises `ObjectStoreError`.
        """
        key = key_of(message)
        if key is None or time.time() - message["large"].get("at", 0) < OBJECT_RENEW_AFTER:
            return text
        objects = self._opened(message)
        objects.put(key, objects.get(key).data)
        document = json.loads(text)
        document["large"]["at"] = int(time.time())
        return envelope.encode(document)

    def discard(self, keys: Iterable[str]) -> None:
        """Have the objects of messages that have ended removed; never blocks."""
        for key in keys:
            self._ended.put(key)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Remove the objects that wait for it, within `timeout` seconds, and end the thread."""
        self._thread.close(timeout)

    def _store(self, text: str, message: Message) -> str:
        # A key for each publish: a message to three queues becomes three, and each ends by itself.
        key = new_large_message_key()
        data = text.encode()
        reference = {
            "body": "",
            "headers": {k: v for k, v in message["headers"].items() if k in REFERENCE_HEADERS},
            "properties": {},
            "id": message["id"],
            **{key: message[key] for key in (expiry.UNTIL_KEY,) if key in message},
            "large": {"store": self._url, "key": key, "bytes": len(data), "at": int(time.time())},
        }
        small = envelope.encode(reference)
        if size(small) > MAX_MESSAGE:
            raise MessageTooLarge(f"message whose headers alone have {len(small):,} characters")
        self._opened().put(key, data)
        if not self._ruled:
            self._ruled = True
            self._ended.put(LARGE_MESSAGES)
            self._thread.start()
        return small

    def _opened(self, reference: Message | None = None) -> ObjectStore:
        """Return the store, opened once; raises `ObjectStoreError` if a reference names another."""
        if reference is not None and reference["large"].get("store") != self._url:
            here = f"large_messages is {self._url}" if self._url else "large_messages is not set"
            raise ObjectStoreError(
                f"it is kept in {reference['large'].get('store')}, but here the transport option "
                f"{here}: give all processes the same"
            )
        with self._lock:
            if self._objects is None:
                self._objects = self._open()
            return self._objects

    def _clean_up(self) -> None:
        """Remove the objects of messages that have ended, until the thread is stopped."""
        failures, stopping = 0, False
        while not stopping:
            todo = [self._ended.get()]
            while not self._ended.empty():
                todo.append(self._ended.get())
            stopping = self._thread.stopping.is_set() and None in todo
            keys = [key for key in todo if key and key != LARGE_MESSAGES]
            try:
                if keys:
                    self._opened().delete(keys)
                    failures = 0
            except ObjectStoreError as error:
                failures += 1
                if failures == 1:
                    logger.warning(
                        "cloudflare: objects of messages that ended stay until they expire: %s",
                        error,
                    )
            if LARGE_MESSAGES in todo:
                try:
                    self._opened().expire(LARGE_MESSAGES, OBJECT_EXPIRE_DAYS)
                except ObjectStoreError as error:
                    logger.warning("cloudflare: left-over large messages do not expire: %s", error)
