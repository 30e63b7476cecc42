"""The hub client: this process's connection to the hub, for messages to temporary queues.

The client opens a WebSocket to the edge Worker, so the process needs no public address; a message
takes milliseconds. The hub keeps the bindings of a client that is away for less than a minute, and
the messages published for it meanwhile; the client sends the bindings again on each connection all
the same. While there is no connection, binding queues carry the messages (`fanout`), more slowly.

The hub also sends wake-ups: it tells the pollers that watch a queue when messages are put into it,
so that they need not poll an idle queue.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from cutmv.transports.cloudflare.edge.hub_protocol import (
    HubMessage,
    Op,
    PublishOutcome,
    bind_op,
    fits,
    frames,
    publish_op,
)
from cutmv.transports.cloudflare.edge.hub_socket import Connect, connector
from cutmv.transports.cloudflare.messages import BroadcastMessage
from cutmv.transports.cloudflare.queues import Binding
from cutmv.transports.cloudflare.runtime import BackgroundThread, full_jitter
from cutmv.transports.cloudflare.troubles import note_trouble

logger = logging.getLogger(__name__)

#: Seconds for the hub to say to how many clients a message went.
ANSWER_TIMEOUT = 2.0

#: Seconds between two attempts to connect, at most; and seconds without a connection until binding
#: queues take over.
PAUSE_MAX, TAKE_OVER_AFTER = 10.0, 1.0

#: Seconds for the thread to notice that the connection is gone.
BREAK_SEEN_AFTER = 0.01

#: Seconds for which a message that could not be sent is kept to be sent late, and how many are kept
#: at most.
LATE_BY_MOST, MAX_LATE = 30.0, 1_000

#: Frames and seconds after which the client reports to the hub how many frames it has received.
REPORT_FRAMES, REPORT_SECONDS = 50, 0.5

#: Seconds between checks whether the hub has sent a close frame: the library goes on waiting until
#: the hub ends the TCP connection, too.
CLOSE_CHECK_INTERVAL = 1.0


class HubClient:
    """This process's connection to the hub; its thread starts with the first binding or message.

    The thread calls `on_message` with each message that comes, and `on_away`, perhaps repeatedly,
    once there has been no connection for `TAKE_OVER_AFTER`. `on_hopeless` is called with an error
    if the thread does not recover. `instead` is what happens meanwhile, for the log.
    """

    def __init__(
        self,
        url: str,
        keys: str,
        scope: str,
        on_hopeless: Callable[[BaseException], object] = lambda _: None,
        instead: str = "queues of the account carry messages for temporary queues",
    ) -> None:
        self.client_id = uuid4().hex
        self._url = url
        self._keys, self._scope, self._instead = keys, scope, instead
        self.on_message: Callable[[HubMessage], None] = lambda _: None
        self.on_away: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._wanted: dict[str, Op] = {}  # operations that bind and watch, by their JSON
        self._watchers: dict[str, list[Callable[[], None]]] = {}  # by queue
        self._socket: Any = None
        self._connect: Connect  # from the thread's start on, and the errors of no connection
        self._away_errors: tuple[type[Exception], ...]
        self._thread = BackgroundThread(
            "hub", self._run, self._hang_up, self._prepare, on_hopeless=on_hopeless
        )
        self._failures = 0  # to connect, in a row
        self._owed: set[str] = set()  # queues whose watchers the hub is still to wake up
        self._late: deque[tuple[float, Op]] = deque(maxlen=MAX_LATE)  # when they were to be sent
        self._connected = threading.Event()
        self._tried = threading.Event()
        self._connected_at = 0.0
        self._lost_at = 0.0
        self._answers: dict[int, PublishOutcome] = {}
        self._refs = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this process knows."""
        return self._connected.is_set()

    @property
    def connected_for(self) -> float:
        """Seconds since the connection was made; 0 if there is none."""
        return time.monotonic() - self._connected_at if self.connected else 0.0

    def start(self) -> None:
        """Connect, and wait briefly for the first attempt, since the caller may publish next."""
        if not self._thread.stopping.is_set():
            self._thread.start()
            self._tried.wait(ANSWER_TIMEOUT)

    def close(self, timeout: float) -> None:
        """Remove all bindings and watches, and end the connection."""
        self._thread.stopping.set()
        for op in list(self._wanted.values()):
            self._undo(op)
        self._thread.close(timeout)

    def bind(self, binding: Binding) -> None:
        """Have the hub deliver messages that match a binding to this process."""
        op = bind_op(binding)
        with self._lock:
            self._wanted[json.dumps(op)] = op
        self.start()
        self._send([op])

    def unbind(self, binding: Binding) -> None:
        """Remove a binding."""
        op = bind_op(binding)
        if self._wanted.pop(json.dumps(op), None):
            self._undo(op)

    def watch(self, queue: str, on_wake_up: Callable[[], None]) -> None:
        """Have `on_wake_up` called when a queue of the account may have messages.

        It must not block. It is also called when the hub begins to watch the queue, and when the
        connection is lost, since messages may have come unnoticed.
        """
        op = {"op": "watch", "queue": queue}
        with self._lock:
            self._watchers.setdefault(queue, []).append(on_wake_up)
            self._wanted[json.dumps(op)] = op
        self.start()
        self._send([op])

    def unwatch(self, queue: str, on_wake_up: Callable[[], None]) -> None:
        """Stop calling `on_wake_up` for a queue."""
        op = {"op": "watch", "queue": queue}
        with self._lock:
            watchers = self._watchers.get(queue, [])
            if on_wake_up in watchers:
                watchers.remove(on_wake_up)
            if watchers or not self._wanted.pop(json.dumps(op), None):
                return
        self._undo(op)

    def wake_up(self, queue: str) -> None:
        """Have the hub wake up the pollers of a queue, since the REST API has put messages into it.

        Without a connection, the wake-up is sent on the next one.
        """
        with self._lock:
            self._owed.add(queue)
        self.start()
        self._send_wake_ups()

    def publish(self, message: BroadcastMessage) -> int | None:
        """Publish a message to the other clients; return to how many it went, or none if unknown.

        A message that a broken connection may have lost is sent again on the next connection, at
        once if that comes soon, else late. So a message may come twice, by the hub or also by a
        binding queue; its reader recognises the copy by the id.
        """
        if not fits(message.text):
            return None
        self.start()
        op = publish_op(message)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            routed = self._publish(op, left)
            if routed is not None:
                return routed
            time.sleep(BREAK_SEEN_AFTER)
            until = min(deadline, self._lost_at + TAKE_OVER_AFTER)
            if not self._connected.wait(max(0.0, until - time.monotonic())):
                break
        with self._lock:
            self._late.append((time.monotonic(), op))
        self._send_late()
        return None

    def _publish(self, op: Op, timeout: float) -> int | None:
        """Publish on the present connection; return none where it ends, or gives no response."""
        with self._lock:
            self._refs += 1
            answer = self._answers[self._refs] = PublishOutcome(self._refs)
        try:
            if self._send([{**op, "ref": answer.ref}]) and answer.ready.wait(timeout):
                return answer.routed
            return None
        finally:
            del self._answers[answer.ref]

    def announce(self, messages: Iterable[BroadcastMessage]) -> bool:
        """Publish messages, many to a frame; return whether all were sent."""
        self.start()
        return all(self._send_frame(frame) for frame in frames(messages))

    def _undo(self, op: Op) -> None:
        self._send([{**op, "op": f"un{op['op']}"}])

    def _send(self, ops: list[Op]) -> bool:
        return self._send_frame([json.dumps(op) for op in ops])

    def _send_frame(self, ops: list[str]) -> bool:
        socket = self._socket
        if socket is None:
            return False
        try:
            socket.send(f"[{','.join(ops)}]")
        except Exception as error:  # the library raises many; each means a lost connection
            logger.debug("cloudflare: the hub is gone: %s", error)
            return False
        return True

    def _prepare(self) -> None:
        self._connect, self._away_errors = connector()
        self._lost_at = time.monotonic()

    def _hang_up(self) -> None:
        socket = self._socket
        if socket is not None:
            socket.close()

    # The thread.

    def _run(self) -> None:
        while not self._thread.stopping.is_set():
            why = ""
            try:
                with self._connect(self._url, self._keys, self.client_id, self._scope) as socket:
                    self._serve(socket)
            except self._away_errors as error:  # a normal close raises, too
                why = str(error) or type(error).__name__
            finally:
                self._note_away()
            if self._failures == 2:
                logger.warning(
                    "cloudflare: the edge Worker's hub is away, so %s: %s", self._instead, why
                )
            self._thread.stopping.wait(full_jitter(self._failures, most=PAUSE_MAX))

    def _note_away(self) -> None:
        """Tell those who wait that there is no connection, and `on_away` if that lasts."""
        self._tried.set()
        self._socket = None
        if self._connected.is_set():
            self._lost_at = time.monotonic()
            self._connected.clear()
            self._failures = 0
            for queue in list(self._watchers):
                self._wake(queue)
        for answer in list(self._answers.values()):
            answer.ready.set()
        self._failures += 1
        away = time.monotonic() - self._lost_at
        if not self._thread.stopping.is_set() and away > TAKE_OVER_AFTER:
            self.on_away()

    def _serve(self, socket: Any) -> None:
        """Send all bindings and watches, then read until the connection ends, which raises."""
        with self._lock:
            wanted = list(self._wanted.values())
            self._socket = socket
        if wanted:
            socket.send(json.dumps(wanted))
        self._send_wake_ups()
        self._send_late()
        self._connected_at = time.monotonic()
        self._connected.set()
        self._tried.set()
        frames, reported = 0, time.monotonic()
        while True:
            try:
                frame = socket.recv(timeout=REPORT_SECONDS if frames else CLOSE_CHECK_INTERVAL)
                frames += 1
                self._take(frame)
            except TimeoutError:
                goodbye = socket.protocol.close_rcvd
                if goodbye is not None:
                    raise ConnectionError(f"it closed the connection: {goodbye}") from None
            now = time.monotonic()
            if frames >= REPORT_FRAMES or (frames and now - reported > REPORT_SECONDS):
                socket.send(json.dumps({"op": "got", "frames": frames}))
                frames, reported = 0, now

    def _take(self, frame: str | bytes) -> None:
        ops: Any = [None]  # a frame that is no JSON counts as one op that is none
        with suppress(ValueError):
            ops = json.loads(frame)
        for op in ops if isinstance(ops, list) else [ops]:
            try:
                self._act(op)
            except Exception as error:  # one message must not end the connection for all others
                note_trouble("messages of the hub", error, "one is dropped")

    def _act(self, op: Op) -> None:
        match op["op"]:
            case "deliver":
                self.on_message(HubMessage(tuple(op["queues"]), op["text"]))
            case "ok":
                answer = self._answers.get(op["ref"])
                if answer is not None:
                    answer.routed = int(op["routed"])
                    answer.ready.set()
            case "wake":
                self._wake(op["queue"])
            case "missed":
                logger.warning("cloudflare: the hub dropped %d messages for us", op["count"])
            case "error":
                logger.warning("cloudflare: the hub says: %s", op["detail"])

    def _send_wake_ups(self) -> None:
        with self._lock:
            owed, self._owed = self._owed, set()
        if owed and not self._send([{"op": "wake", "queue": queue} for queue in sorted(owed)]):
            with self._lock:
                self._owed |= owed

    def _send_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [(since, op) for since, op in self._late if now - since < LATE_BY_MOST]
            self._late.clear()
        while late and self._send([late[0][1]]):  # one to a frame, as two may not fit
            del late[0]
        with self._lock:
            self._late.extendleft(reversed(late))

    def _wake(self, queue: str) -> None:
        for on_wake_up in list(self._watchers.get(queue, ())):
            on_wake_up()
