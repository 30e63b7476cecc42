"""Celery's result backend over the edge Worker: `CloudflareBackend`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from celery import states
from celery.exceptions import ImproperlyConfigured
from kombu.utils.encoding import bytes_to_str, ensure_bytes

from cutmv.backends.cloudflare import values
from cutmv.backends.cloudflare.calls import PATIENCE, Answer, Op
from cutmv.backends.cloudflare.celery_parts import AsyncBackend, BackendStoreError
from cutmv.backends.cloudflare.chords import Chords
from cutmv.backends.cloudflare.connection import Connection, connection_to
from cutmv.backends.cloudflare.consumer import ResultConsumer
from cutmv.backends.cloudflare.finding import find_edge
from cutmv.backends.cloudflare.notes import Notes

logger = logging.getLogger(__name__)

#: Seconds for which a result is kept at most, at the Worker: ten years.
MAX_KEEP = 315_360_000


class CloudflareBackend(Chords, AsyncBackend):
    """Results in the edge Worker's Durable Objects; large ones in its bucket.

    ::

        app = Celery(broker="cloudflare://", backend="cloudflare://")
        add.delay(2, 3).get(timeout=10)

    It behaves as Celery's Redis backend does. Raises `ImproperlyConfigured` where there is no
    Worker; operations raise a `CloudflareError` where it does not answer for `PATIENCE`. Since they
    are asked again until then, ``result_backend_always_retry`` changes nothing.
    """

    key_t = bytes_to_str
    supports_autoexpire = True
    supports_native_join = True
    supports_result_compression = True
    supports_failure_expires = True

    def __init__(self, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(expires_type=int, url=url, **kwargs)
        try:
            self._edge = find_edge(self.app.conf)
        except ImproperlyConfigured as error:
            if not self.app.loader.worker_initialized:
                raise
            logger.critical("%s", error)  # in a worker, whose log a traceback would fill
            raise SystemExit(1) from None
        failure_expires = self.app.conf.get("result_failure_expires")
        self.failure_expires = (
            self.expires
            if failure_expires is None
            else self.prepare_expires(failure_expires, type=int)
        )
        self.result_consumer = ResultConsumer(
            self, self.app, self.accept, self._pending_results, self._pending_messages
        )

    @property
    def connection(self) -> Connection:
        """What all backends of this process share."""
        return connection_to(*self._edge)

    @property
    def notes(self) -> Notes:
        """The app's revoked tasks and rate limits, which outlive its workers."""
        options = self.app.conf.get("result_backend_transport_options") or {}
        return Notes(self.connection.calls, str(options.get("global_keyprefix") or ""))

    # What `BaseKeyValueStoreBackend` asks for.

    def get(self, key: str) -> bytes | None:
        """Return what is kept by a key."""
        return self._read(self._one("get", key)["value"])

    def mget(self, keys: Iterable[str]) -> list[bytes | None]:
        """Return what is kept by each key."""
        answers = self._perform([{"op": "get", "key": key} for key in keys])
        return [self._read(answer["value"]) for answer in answers]

    def set(self, key: str, value: bytes | str) -> None:
        """Keep a value for `result_expires`."""
        self._perform([self._put(key, value, states.SUCCESS, final=False)])

    def delete(self, key: str) -> None:
        """Delete what is kept by a key."""
        self._one("delete", key)

    def expire(self, key: str, value: float | None) -> None:
        """Keep what is kept by a key for so many seconds from now; 0: for ever."""
        self._one("expire", key, seconds=_whole(value))

    def _set_with_state(self, key: str, value: bytes | str, state: str) -> None:
        self._perform([self._put(key, value, state, final=False)])

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        """Keep a task's state. One that has succeeded keeps its result, whatever comes later."""
        self._perform([self._put_of(task_id, result, state, traceback, request)])
        return result

    def _put_of(
        self, task_id: str, result: Any, state: str, traceback: Any, request: Any
    ) -> dict[str, Any]:
        """Return the operation that keeps a task's state."""
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        meta["task_id"] = bytes_to_str(task_id)
        key, payload = self.get_key_for_task(task_id), self.encode(meta)
        try:
            return self._put(key, payload, state, final=state == states.SUCCESS)
        except BackendStoreError as error:
            raise BackendStoreError(str(error), state=state, task_id=task_id) from error

    def _forget(self, task_id: str) -> None:
        super()._forget(task_id)
        self.result_consumer.cancel_for(task_id)

    def __reduce__(self, args: Any = (), kwargs: Any = None) -> Any:
        return super().__reduce__(
            args, {**(kwargs or {}), "expires": self.expires, "url": self.url}
        )

    # What the consumer asks for.

    def watch(self, task_ids: Sequence[str], patience: float) -> list[dict[str, Any]]:
        """Have this process be told of tasks; return the states that there are already."""
        ops = [
            {
                "op": "watch",
                "key": self.get_key_for_task(task_id),
                **self.connection.waiter,
            }
            for task_id in task_ids
        ]
        answers = self._perform(ops, patience)
        return [self.meta_of(each["value"]) for each in answers if each["value"] is not None]

    def meta_of(self, value: str) -> dict[str, Any]:
        """Return the state of a task, as it is kept."""
        meta: dict[str, Any] = self.decode_result(self._read(value))
        return meta

    def task_id_of(self, key: str) -> str:
        """Return the id of the task whose state is kept by a key."""
        return str(self._strip_prefix(key))

    # What all share.

    def _perform(self, ops: Sequence[Op], patience: float = PATIENCE) -> list[Answer]:
        return self.connection.calls.perform(ops, patience)

    def _one(self, op: str, key: str, **more: Any) -> Mapping[str, Any]:
        (answer,) = self._perform([{"op": op, "key": key, **more}])
        return answer

    def _put(self, key: str, value: bytes | str, state: str, *, final: bool) -> dict[str, Any]:
        seconds = self.failure_expires if state == states.FAILURE else self.expires
        return {
            "op": "put",
            "key": key,
            "value": self._write(key, value),
            "ready": state in states.READY_STATES,
            "final": final,
            "seconds": _whole(seconds),
        }

    def _write(self, key: str, payload: bytes | str) -> str:
        """Return what is kept of a payload: itself, or the name of the object that it is put in."""
        data: bytes = ensure_bytes(payload)
        if len(data) <= values.SMALL:
            return values.write(data)
        if len(data) > values.LARGEST:
            raise BackendStoreError(
                f"the result is {len(data):,} bytes, and at most {values.LARGEST:,} are kept: keep "
                "it elsewhere, and return its name"
            )
        return values.LARGE + self.connection.write_large(key, data)

    def _read(self, value: str | None) -> bytes | None:
        if value is None:
            return None
        if value.startswith(values.LARGE):
            return self.connection.read_large(value.removeprefix(values.LARGE))
        return values.read(value)


def _whole(seconds: float | None) -> int:
    """Return seconds as the Worker takes them."""
    return min(MAX_KEEP, max(0, int(seconds or 0)))
