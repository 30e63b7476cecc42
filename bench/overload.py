"""A web server that gets ten times what it can do: who still gets through, and what is left after.

    python bench/overload.py [--seconds 180] [--quick] [--json]

A real server cuts in eager mode. Well-behaved clients list jobs and make them, ten times as many
steps as the machine can cut in the time; ill-behaved ones, each from addresses of its own on
loopback, hold slow heads, slow uploads, WebSockets and downloads that nobody reads, and send bodies
of nonsense. Meanwhile `/healthz` is asked ten times a second, and a second person makes small jobs.
Prints what was measured; exit code 1 where less than what is wanted was reached. Clients are told
apart by their addresses, since nobody signs in.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server

#: Seconds of a run, and of a quick one.
SECONDS, QUICK_SECONDS = 180, 20
#: What is wanted: `/healthz`'s 99th percentile (s), a second person's job by its time alone, and
#: seconds until all is as before.
HEALTH_P99_S, OTHERS_JOB, NORMAL_S = 0.3, 2.0, 30.0
#: Connections of each ill-behaved kind.
HEADS, UPLOADS, SOCKETS, NONSENSE = 150, 150, 40, 4
#: The addresses of the second person, and of who orders all the rest.
OTHER, GREEDY = "127.0.0.2", "127.0.0.3"
#: Clips of one greedy job.
GREEDY_CLIPS = 100


class Load:
    """Threads that go on until they are told to stop."""

    def __init__(self, server: WebServer) -> None:
        self.server, self.port = server, urlsplit(server.url).port or 0
        self.stop = threading.Event()
        self.answers: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def run(self, number: int, act: Callable[[str], None], network: int) -> None:
        """Have so many clients, of addresses of their own, act again and again."""
        for client in range(number):
            source = f"127.0.{network}.{client % 250 + 1}"
            thread = threading.Thread(target=self._go_on, args=(act, source), daemon=True)
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        """Stop all, and wait for them."""
        self.stop.set()
        for thread in self._threads:
            thread.join(60)

    def count(self, what: str) -> None:
        """Count an answer."""
        with self._lock:
            self.answers[what] = self.answers.get(what, 0) + 1

    def _go_on(self, act: Callable[[str], None], source: str) -> None:
        while not self.stop.is_set():
            with suppress(OSError, httpx.HTTPError):
                act(source)
            self.stop.wait(0.2)

    def _open(self, source: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20, source_address=(source, 0))

    def drip(self, head: bytes) -> Callable[[str], None]:
        """A client that sends the first bytes, and then one a second."""

        def act(source: str) -> None:
            with self._open(source) as connection:
                connection.sendall(head)
                connection.settimeout(1)
                while not self.stop.is_set():
                    with suppress(TimeoutError):
                        text = connection.recv(200)
                        self.count(text.split()[1].decode() if text else "ended")
                        return
                    connection.sendall(b"x")

        return act

    def nonsense(self, source: str) -> None:
        """A client that sends JSON which is none."""
        transport = httpx.HTTPTransport(local_address=source)
        with httpx.Client(transport=transport, timeout=20) as client:
            kind = {"Content-Type": "application/json"}
            answer = client.post(f"{self.server.url}/api/jobs", content="[" * 400_000, headers=kind)
            self.count(str(answer.status_code))

    def listing(self, source: str) -> None:
        """A client that looks at the list of jobs."""
        transport = httpx.HTTPTransport(local_address=source)
        with httpx.Client(transport=transport, timeout=20) as client:
            self.count(f"list {client.get(f'{self.server.url}/api/jobs').status_code}")


def state(server: WebServer) -> dict[str, int]:
    """Memory (MB), threads and descriptors of the server's worker process."""
    parent = server.process.child.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    folder = Path(f"/proc/{children[0]}")
    told = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return {
        "memory_mb": int(told["VmRSS"].split()[0]) // 1024,
        "threads": int(told["Threads"]),
        "descriptors": len(list((folder / "fd").iterdir())),
    }


def job(server: WebServer, upload: str, clips: list[str], source: str) -> dict[str, Any]:
    """Make a job from an address."""
    body = {"upload_id": upload, "clips": clips, "aspects": ["9:16"]}
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(transport=transport, timeout=60) as client:
        answer = client.post(f"{server.url}/api/jobs", json=body)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def seconds_of_job(server: WebServer, upload: str, clip: str) -> float:
    """Seconds until a small job is done."""
    began = time.monotonic()
    made = job(server, upload, [clip], OTHER)
    address = f"{server.url}/api/jobs/{made['id']}"

    def done() -> bool:
        with suppress(httpx.HTTPError):
            return bool(httpx.get(address, timeout=30).json()["state"] == "done")
        return False

    wait_for(done, 600, "the job is done")
    return time.monotonic() - began


def watch(server: WebServer, stop: threading.Event, found: list[float]) -> None:
    """Ask `/healthz` ten times a second, over a new connection each time."""
    while not stop.is_set():
        began = time.monotonic()
        try:
            good = httpx.get(f"{server.url}/healthz", timeout=30).status_code == 200
        except httpx.HTTPError:
            good = False
        found.append(time.monotonic() - began if good else 30.0)
        stop.wait(0.1)


def measured(server: WebServer, folder: Path, seconds: float) -> dict[str, Any]:
    """Run the load, and return what was measured."""
    video = make_sample(folder / "v.mp4", seconds=10)
    answer = httpx.post(f"{server.url}/api/uploads?filename=v.mp4", content=video.read_bytes())
    upload = answer.json()["id"]
    alone = statistics.median(seconds_of_job(server, upload, f"{n}-{n + 1}") for n in range(3))
    before, health = state(server), list[float]()
    load, stop = Load(server), threading.Event()
    watcher = threading.Thread(target=watch, args=(server, stop, health), daemon=True)
    watcher.start()
    mp4 = b"\0\0\0\x18ftypmp42\0\0\0\0"
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    slow = b"POST /api/uploads?filename=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000"
    many = [f"{n / 20}-{n / 20 + 1}" for n in range(GREEDY_CLIPS)]
    greedy = [job(server, upload, many, GREEDY)]
    while sum(len(each["steps"]) for each in greedy) * alone / 2 < 10 * seconds:
        greedy.append(job(server, upload, many, GREEDY))
    load.run(HEADS, load.drip(head), 10)
    load.run(UPLOADS, load.drip(slow + b"\r\n\r\n" + mp4), 11)
    socket_head = (
        f"GET /ws/jobs/{greedy[0]['id']} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    load.run(SOCKETS, load.drip(socket_head.encode()), 12)
    load.run(NONSENSE, load.nonsense, 13)
    load.run(4, load.listing, 14)
    until, others = time.monotonic() + seconds, list[float]()
    while time.monotonic() < until:
        others.append(seconds_of_job(server, upload, "2-3"))
    during = state(server)
    load.end()
    ended = time.monotonic()
    for each in greedy:
        httpx.delete(f"{server.url}/api/jobs/{each['id']}", timeout=60)

    def normal() -> bool:
        return state(server)["descriptors"] <= before["descriptors"] + 10

    with suppress(AssertionError, TimeoutError):
        wait_for(normal, 60, "all connections are gone")
    again = seconds_of_job(server, upload, "3-4")
    normal_s = time.monotonic() - ended
    stop.set()
    watcher.join()
    return {
        "health_p99_s": round(statistics.quantiles(health, n=100)[98], 3),
        "health_max_s": round(max(health), 3),
        "health_asked": len(health),
        "alone_s": round(alone, 2),
        "others_job_s": [round(each, 2) for each in others],
        "others_job_ratio": round(max(others) / alone, 2),
        "normal_after_s": round(normal_s, 1),
        "job_after_s": round(again, 2),
        "before": before,
        "during": during,
        "after": state(server),
        "answers": load.answers,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(web_server(folder))
        found = measured(server, folder, QUICK_SECONDS if args.quick else args.seconds)
    print(json.dumps(found))
    if not args.json:
        for name in ("before", "during", "after"):
            print(f"| {name} | " + " | ".join(str(each) for each in found[name].values()) + " |")
    kept = (
        found["health_p99_s"] < HEALTH_P99_S
        and found["others_job_ratio"] <= OTHERS_JOB
        and found["normal_after_s"] <= NORMAL_S
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
