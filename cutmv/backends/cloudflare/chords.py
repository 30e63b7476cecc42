"""Chords, whose parts an object of the Worker counts: `Chords`, a part of the backend.

A header's part is stored as any result, and counted at the chord's object, by one call. The object
remembers the part's task id: a task that is delivered again counts once. Whoever returns the last
part is given a claim, for a time, to publish the body. What if the process dies

- before it counts its part: its message is not acked (`task_acks_late`), so the task runs again,
  and its part is counted then;
- between the count and the body's publish: the copy of its task finds all parts there, waits until
  the claim has ended, and publishes the body;
- after the publish, before it says so: that copy publishes the body again, under the same task id,
  which `worker_deduplicate_successful_tasks` drops.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from celery import states
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import allow_join_result

from cutmv.backends.cloudflare.calls import Op
from cutmv.backends.cloudflare.celery_parts import Generated, GroupResult, KeyValueStore
from cutmv.transports.cloudflare.errors import CloudflareError

logger = logging.getLogger(__name__)

#: Seconds of a claim beyond what joining the header may take, and seconds of it where joining has
#: no limit.
CLAIM_MORE, CLAIM_UNBOUNDED = 30, 300

#: Seconds for which a chord that is done is remembered: a copy of a part may come that late.
REMEMBERED = 86_400

#: Seconds between looks at another's claim.
LOOK = 1.0


class Chords(KeyValueStore):
    """What a backend does for chords, in operations on the object that has the group's key."""

    _one: Any
    _perform: Any
    _put_of: Any
    _write: Any
    _read: Any

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Keep the result of a task that has succeeded; count it, by the same call, if a part."""
        kept = store_result and not getattr(request, "ignore_result", False)
        if not kept or not getattr(request, "chord", None) or not request.group:
            super().mark_as_done(task_id, result, request, store_result, state)
            return
        put = self._put_of(task_id, self.encode_result(result, state), state, None, request)
        self._return(request, state, result, [put])

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Say how many parts a chord has; this begins one anew that is done."""
        self._chord("size", group_id, size=int(chord_size), seconds=self._chord_seconds)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Count one part more, which a part adds while it runs."""
        self._chord("add", chord_id, id=f"{result.id}", seconds=self._chord_seconds)

    def apply_chord(self, header_result_args: Any, body: Any, **_: Any) -> None:  # noqa: ARG002
        """Keep the shape of a header that has groups in it; of others the parts say all."""
        if isinstance(header_result_args[1], Generated):
            return
        header_result = self.app.GroupResult(*header_result_args)
        if any(isinstance(each, GroupResult) for each in header_result.results):
            header_result.save(backend=self)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """Count a part of a header; publish the body, or fail it, if it was the last."""
        if request.id and request.group:
            self._return(request, state, result, [])

    def _return(self, request: Any, state: str, result: Any, puts: Sequence[Op]) -> None:
        """Count a part, after what is to be put by the same call; do as its count says."""
        group_id, token = request.group, uuid4().hex
        if not self._last(request, state, result, token, puts):
            return
        callback = maybe_signature(request.chord, app=self.app)
        try:
            returned = self._returned(group_id)
        except ChordError as error:
            logger.exception("Chord %r raised: %r", group_id, error)
            self._fail(group_id, callback, error)
        except Exception as error:
            logger.exception("Chord %r raised: %r", group_id, error)
            self._fail(group_id, callback, ChordError(f"Join error: {error!r}"))
        else:
            self._publish(group_id, callback, returned, token)

    def _last(self, request: Any, state: str, result: Any, token: str, puts: Sequence[Op]) -> bool:
        """Count a part; return whether its caller has the claim to publish the body.

        Where another has it and this is a copy of a part, wait: that one may have died.
        """
        encoded = self.encode([1, request.id, state, self.encode_result(result, state)])
        key, index = self._chord_key(request.group), request.group_index
        part = {
            "op": "part",
            "key": key,
            "member": f"{request.id}:{'' if index is None else index}",
            "place": index if self._ordered else None,
            "value": self._write(key, encoded),
            "seconds": self._chord_seconds,
            "token": token,
            "claim_seconds": self._claim_seconds,
        }
        while True:
            answer = self._perform([*puts, part])[-1]
            if answer["done"] or answer["total"] is None:
                return False
            if answer["claimed"]:
                return True
            if answer["count"] != answer["total"]:
                return False
            time.sleep(min(LOOK, answer["claim_left"]))

    def _returned(self, group_id: str) -> list[Any]:
        """Return the results of a header; raises `ChordError` where a part failed."""
        header_result = GroupResult.restore(group_id, backend=self, app=self.app)
        if header_result is not None:  # one with groups in it, whose parts' results say all
            header_result.on_ready()
            with allow_join_result():
                joined: list[Any] = header_result.join_native(
                    timeout=self.app.conf.result_chord_join_timeout, propagate=True
                )
            return joined
        return [self._unpacked(each) for each in self._parts(group_id)]

    def _parts(self, group_id: str) -> Iterator[Any]:
        skip = 0
        while found := self._chord("parts", group_id, skip=skip)["values"]:
            yield from map(self._read, found)
            skip += len(found)

    def _unpacked(self, part: bytes) -> Any:
        _, task_id, state, returned = self.decode(part)
        if state in states.EXCEPTION_STATES:
            returned = self.exception_to_python(returned)
        if state in states.PROPAGATE_STATES:
            cause = returned if isinstance(returned, Exception) else None
            raise ChordError(f"Dependency {task_id} raised {returned!r}") from cause
        return returned

    def _publish(self, group_id: str, callback: Any, returned: list[Any], token: str) -> None:
        if not self._chord("extend", group_id, token=token, seconds=self._claim_seconds)["done"]:
            logger.warning("The body of chord %r is another's to publish by now", group_id)
            return
        try:
            self.app.amqp._retry_publish(callback.delay, returned)
        except Exception as error:
            logger.exception("Chord callback for %r raised: %r", group_id, error)
            self._fail(group_id, callback, ChordError(f"Callback error: {error!r}"))
            return
        try:
            self._chord("finish", group_id, token=token, seconds=REMEMBERED)
        except CloudflareError as error:
            logger.warning(
                "The body of chord %r is published, which is not noted: %s", group_id, error
            )

    def _fail(self, group_id: str, callback: Any, error: ChordError) -> None:
        """Fail the body, once: a part that returns again does not fail it once more."""
        try:
            self.chord_error_from_stack(callback, error)
        finally:
            self._chord("fail", group_id)

    def _chord(self, op: str, group_id: str, **more: Any) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._one(op, self._chord_key(group_id), **more)
        return answer

    def _chord_key(self, group_id: str) -> Any:
        return self.get_key_for_chord(group_id)

    @property
    def _ordered(self) -> bool:
        options = self.app.conf.get("result_backend_transport_options") or {}
        return bool(options.get("result_chord_ordered", True))

    @property
    def _chord_seconds(self) -> int:
        return int(self.chord_expires or 0)

    @property
    def _claim_seconds(self) -> int:
        timeout = self.app.conf.result_chord_join_timeout
        return CLAIM_UNBOUNDED if timeout is None else int(timeout) + CLAIM_MORE
