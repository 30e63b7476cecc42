"""The hub: what temporary queues are sent, over a WebSocket to the edge Worker, in milliseconds.

A process has one connection, outwards, so it needs no public address. The hub keeps the bindings of
a client that is away for less than a minute, and what was published for it meanwhile; here they
are sent again on each connection all the same. While there is none, mailboxes do the same work
(see `mailboxes`), more slowly.

It also rings for those who pull: a queue that is watched is rung for when messages are put into it,
so that it need not be polled.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from cutmv.transports.cloudflare import signature
from cutmv.transports.cloudflare.api import full_jitter
from cutmv.transports.cloudflare.errors import ConfigurationError

logger = logging.getLogger(__name__)

# At DEBUG the library shows headers, and with them signatures.
_library_logger = logging.getLogger(f"{__name__}.websocket")
_library_logger.setLevel(logging.WARNING)

#: Seconds for a connection to be there, and for the hub to say where a message went.
OPEN_TIMEOUT, ANSWER_TIMEOUT = 5.0, 2.0

#: Seconds between two attempts to connect, at most; and until mailboxes take over.
PAUSE_MAX, AWAY = 10.0, 1.0

#: Seconds in which the thread notices that the connection is gone.
NOTICE = 0.01

#: Seconds for which a message is sent late rather than never, and how many wait for that at most.
LATE, MAX_LATE = 30.0, 1_000

#: Bytes of a frame that is taken, and of one that is sent: the hub takes 1 MiB.
MAX_FRAME, MAX_SENT = 8 * 1024 * 1024, 1_000_000

#: Bytes of a frame that has one message, but for its text: keys are of 255 bytes at most.
AROUND_TEXT = 10_000

#: Frames and seconds after which it is reported how many have come.
REPORT_FRAMES, REPORT_SECONDS = 50, 0.5

#: Seconds between looks whether the hub has said goodbye: the library waits for it to hang up, too.
LOOK = 1.0

Op = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for temporary queues of this process, as it was published."""

    queues: tuple[str, ...]
    text: str


class Hub:
    """This process's connection to the hub; its thread starts with the first binding or message.

    `on_delivery` gets what comes, and `on_away` is called, perhaps again and again, once the hub
    has been away for `AWAY`. The thread calls them.
    """

    def __init__(self, url: str, keys: str, scope: str) -> None:
        self.client_id = uuid4().hex
        self._url = url.rstrip("/").replace("http", "ws", 1)
        self._keys, self._scope = keys, scope
        self.on_delivery: Callable[[Delivery], None] = lambda _: None
        self.on_away: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._wanted: dict[str, Op] = {}  # what is bound and watched, by its JSON
        self._bells: dict[str, list[Callable[[], None]]] = {}  # of queues that are watched
        self._socket: Any = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._owed: set[str] = set()  # queues for which it is still to be rung
        self._late: deque[tuple[float, Op]] = deque(maxlen=MAX_LATE)  # when they were to be sent
        self._connected = threading.Event()
        self._tried = threading.Event()
        self._connected_at = 0.0
        self._lost_at = 0.0
        self._answers: dict[int, _Answer] = {}
        self._refs = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connected.is_set()

    @property
    def connected_for(self) -> float:
        """Seconds since the connection was made; 0 if there is none."""
        return time.monotonic() - self._connected_at if self.connected else 0.0

    def start(self) -> None:
        """Connect, and wait a moment for the first attempt at it: who comes next may publish."""
        with self._lock:
            if self._stop.is_set():
                return
            if self._thread is None:
                connect = _connector()
                self._lost_at = time.monotonic()
                self._thread = threading.Thread(
                    target=self._run, args=(connect,), name="cloudflare-hub", daemon=True
                )
                self._thread.start()
        self._tried.wait(ANSWER_TIMEOUT)

    def close(self, timeout: float) -> None:
        """Forget what is bound, and end the connection."""
        self._stop.set()
        for op in list(self._wanted.values()):
            self._undo(op)
        socket = self._socket
        if socket is not None:
            socket.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def bind(self, exchange: str, kind: str, key: str, queue: str) -> None:
        """Have messages delivered that are published to an exchange with a key that fits."""
        op = _binding(exchange, kind, key, queue)
        with self._lock:
            self._wanted[json.dumps(op)] = op
        self.start()
        self._send([op])

    def unbind(self, exchange: str, kind: str, key: str, queue: str) -> None:
        """Remove a binding."""
        op = _binding(exchange, kind, key, queue)
        if self._wanted.pop(json.dumps(op), None):
            self._undo(op)

    def watch(self, queue: str, on_ring: Callable[[], None]) -> None:
        """Have `on_ring` called when a queue of the account may have messages; it must not wait.

        That is also once the hub watches, and when it no longer does: what came in between is
        not known.
        """
        op = {"op": "watch", "queue": queue}
        with self._lock:
            self._bells.setdefault(queue, []).append(on_ring)
            self._wanted[json.dumps(op)] = op
        self.start()
        self._send([op])

    def unwatch(self, queue: str, on_ring: Callable[[], None]) -> None:
        """Call `on_ring` no more."""
        op = {"op": "watch", "queue": queue}
        with self._lock:
            bells = self._bells.get(queue, [])
            if on_ring in bells:
                bells.remove(on_ring)
            if bells or not self._wanted.pop(json.dumps(op), None):
                return
        self._undo(op)

    def ring(self, queue: str) -> None:
        """Tell those who watch a queue that messages were put into it, by another way than ours.

        While there is no connection, that is owed to them.
        """
        with self._lock:
            self._owed.add(queue)
        self.start()
        self._ring_owed()

    def publish(self, exchange: str, kind: str, key: str, text: str) -> int | None:
        """Publish to the other clients, and return to how many it went; none: it is not known.

        What a connection that broke may have lost is sent again by the next, if that is there
        soon, and what was not sent by one that comes later. So it may come twice, by the hub or
        also by a mailbox: who reads knows messages by their ids.
        """
        if not fits(text):
            return None
        self.start()
        op = _message(exchange, kind, key, text)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            routed = self._publish(op, left)
            if routed is not None:
                return routed
            time.sleep(NOTICE)
            until = min(deadline, self._lost_at + AWAY)
            if not self._connected.wait(max(0.0, until - time.monotonic())):
                break
        with self._lock:
            self._late.append((time.monotonic(), op))
        self._send_late()
        return None

    def _publish(self, op: Op, timeout: float) -> int | None:
        """Publish by the connection that there is; none where it ends, or does not answer."""
        with self._lock:
            self._refs += 1
            answer = self._answers[self._refs] = _Answer(self._refs)
        try:
            if self._send([{**op, "ref": answer.ref}]) and answer.ready.wait(timeout):
                return answer.routed
            return None
        finally:
            del self._answers[answer.ref]

    def announce(self, messages: Iterable[tuple[str, str, str, str]]) -> bool:
        """Publish many (exchange, kind, key, text), and tell whether they were handed over."""
        self.start()
        frame: list[str] = []
        size = 0
        for message in messages:
            if not fits(message[3]):
                logger.warning("cloudflare: a message too large for the hub is dropped")
                continue
            op = json.dumps(_message(*message))
            if frame and size + len(op) >= MAX_SENT:
                if not self._send_frame(frame):
                    return False
                frame, size = [], 0
            frame.append(op)
            size += len(op) + 1
        return not frame or self._send_frame(frame)

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
        except Exception as error:  # the library has many; each means that it is gone
            logger.debug("cloudflare: the hub is gone: %s", error)
            return False
        return True

    # The thread.

    def _run(self, connect: Callable[..., Any]) -> None:
        failures, since = 0, self._lost_at
        while not self._stop.is_set():
            why = ""
            try:
                with self._connect(connect) as socket:
                    self._serve(socket)
            except Exception as error:  # its end, too, is one
                why = str(error) or type(error).__name__
            self._tried.set()
            self._socket = None
            if self._connected.is_set():
                self._lost_at = time.monotonic()
                self._connected.clear()
                failures, since = 0, self._lost_at
                for queue in list(self._bells):
                    self._ring(queue)
            for answer in list(self._answers.values()):
                answer.ready.set()
            failures += 1
            if failures == 2:
                logger.warning(
                    "cloudflare: the edge Worker's hub is away, so queues carry what is for "
                    "temporary ones: %s",
                    why,
                )
            if not self._stop.is_set() and time.monotonic() - since > AWAY:
                self.on_away()
            self._stop.wait(full_jitter(failures, most=PAUSE_MAX))

    def _connect(self, connect: Callable[..., Any]) -> Any:
        target = f"/v1/hub?{urlencode({'client': self.client_id, 'scope': self._scope})}"
        return connect(
            self._url + target,
            additional_headers=signature.headers(self._keys, target.encode()),
            user_agent_header="cutmv-transport",
            open_timeout=OPEN_TIMEOUT,
            close_timeout=1,
            max_size=MAX_FRAME,
            compression=None,
            logger=_library_logger,
        )

    def _serve(self, socket: Any) -> None:
        """Bind all anew, then read until the connection ends, which raises."""
        with self._lock:
            wanted = list(self._wanted.values())
            self._socket = socket
        if wanted:
            socket.send(json.dumps(wanted))
        self._ring_owed()
        self._send_late()
        self._connected_at = time.monotonic()
        self._connected.set()
        self._tried.set()
        frames, reported = 0, time.monotonic()
        while True:
            try:
                frame = socket.recv(timeout=REPORT_SECONDS if frames else LOOK)
                frames += 1
                ops = json.loads(frame)
                for op in ops if isinstance(ops, list) else [ops]:
                    self._take(op)
            except TimeoutError:
                goodbye = socket.protocol.close_rcvd
                if goodbye is not None:
                    raise ConnectionError(f"it closed the connection: {goodbye}") from None
            now = time.monotonic()
            if frames >= REPORT_FRAMES or (frames and now - reported > REPORT_SECONDS):
                socket.send(json.dumps({"op": "got", "frames": frames}))
                frames, reported = 0, now

    def _take(self, op: Op) -> None:
        try:
            match op["op"]:
                case "deliver":
                    self.on_delivery(Delivery(tuple(op["queues"]), op["text"]))
                case "ok":
                    answer = self._answers.get(op["ref"])
                    if answer is not None:
                        answer.routed = int(op["routed"])
                        answer.ready.set()
                case "ring":
                    self._ring(op["queue"])
                case "missed":
                    logger.warning("cloudflare: the hub dropped %d messages for us", op["count"])
                case "error":
                    logger.warning("cloudflare: the hub says: %s", op["detail"])
        except Exception:  # one message must not end the connection for all others
            logger.exception("cloudflare: a message of the hub is dropped")

    def _ring_owed(self) -> None:
        with self._lock:
            owed, self._owed = self._owed, set()
        if owed and not self._send([{"op": "ring", "queue": queue} for queue in sorted(owed)]):
            with self._lock:
                self._owed |= owed

    def _send_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [(since, op) for since, op in self._late if now - since < LATE]
            self._late.clear()
        while late and self._send([late[0][1]]):  # each in a frame, which has room for one
            del late[0]
        with self._lock:
            self._late.extendleft(reversed(late))

    def _ring(self, queue: str) -> None:
        for on_ring in list(self._bells.get(queue, ())):
            on_ring()


def fits(text: str) -> bool:
    """Tell whether the hub takes a message of this text, as it is written in a frame."""
    return len(json.dumps(text)) + AROUND_TEXT <= MAX_SENT


class _Answer:
    """What the hub says of one message; no number where the connection ended before."""

    def __init__(self, ref: int) -> None:
        self.ref = ref
        self.ready = threading.Event()
        self.routed: int | None = None


def _binding(exchange: str, kind: str, key: str, queue: str) -> Op:
    return {"op": "bind", "exchange": exchange, "kind": kind, "key": key, "queue": queue}


def _message(exchange: str, kind: str, key: str, text: str) -> Op:
    # What is for this process has been delivered within it.
    address = {"exchange": exchange, "kind": kind, "key": key}
    return {"op": "publish", **address, "text": text, "skip_self": True}


def _connector() -> Callable[..., Any]:
    try:
        from websockets.sync.client import connect
    except ImportError:
        raise ConfigurationError(
            "cloudflare transport: an edge_url needs more packages: "
            "pip install '.[push]' in a checkout of CUTMV"
        ) from None
    return connect
