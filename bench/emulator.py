"""How many requests a second the emulator serves on one core.

    python bench/emulator.py [--seconds 3] [--connections 32]

Starts the emulator pinned to one core, and drives it from this process, pinned to another where
there is one, with plain keep-alive connections. Prints a table, and then one JSON line whose
`requests_per_s` is the smaller figure of the workloads that move one message a call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import uvloop

#: The one account and token of a fresh emulator.
_ACCOUNT, _TOKEN = "0" * 32, "bench"
#: Bytes of a message's body: about those of a small Celery task.
_BODY = "x" * 900
#: Messages of one batch push, and of the pull that fetches them.
_BATCH = 100
#: The workloads that move one message a call.
_SINGLE = ("push, one message", "pull one, ack it")


@dataclass(frozen=True)
class Row:
    """One measured workload; latencies in milliseconds."""

    workload: str
    requests_per_s: int
    messages_per_s: int
    p50_ms: float
    p99_ms: float


class Connection:
    """One keep-alive connection; it knows just enough HTTP not to be the bottleneck itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, base: str):
        self._reader, self._writer, self._base = reader, writer, base

    @classmethod
    async def open(cls, url: str) -> Connection:
        """Connect to the emulator whose API is at `url`."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port), parts.path)

    async def post(self, path: str, document: object) -> bytes:
        """The answer's body; any status but 200 is an error."""
        body = json.dumps(document).encode()
        self._writer.write(
            f"POST {self._base}{path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {_TOKEN}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        return answer

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def push(connection: Connection, messages: str) -> int:
    """Push one message, as text."""
    await connection.post(messages, {"body": _BODY, "content_type": "text"})
    return 1


async def push_batch(connection: Connection, messages: str) -> int:
    """Push as many messages as one call may carry."""
    batch = [{"body": _BODY, "content_type": "text"}] * _BATCH
    await connection.post(f"{messages}/batch", {"messages": batch})
    return _BATCH


async def pull_and_ack(connection: Connection, messages: str) -> int:
    """Pull one message, and acknowledge it."""
    answer = await connection.post(f"{messages}/pull", {"batch_size": 1})
    leases = [{"lease_id": each["lease_id"]} for each in json.loads(answer)["result"]["messages"]]
    await connection.post(f"{messages}/ack", {"acks": leases})
    return len(leases)


async def measure(
    url: str, messages: str, work: Callable, calls_each: int, seconds: float, connections: int
) -> tuple[int, int, float, float]:
    """Requests/s, messages/s, and the latency of one round of `work`: p50 and p99 (ms)."""
    latencies: list[float] = []
    moved = 0
    end = time.perf_counter() + seconds

    async def drive(connection: Connection) -> None:
        nonlocal moved
        while (started := time.perf_counter()) < end:
            count = await work(connection, messages)
            moved += count
            latencies.append(time.perf_counter() - started)

    opened = [await Connection.open(url) for _ in range(connections)]
    started = time.perf_counter()
    await asyncio.gather(*(drive(each) for each in opened))
    took = time.perf_counter() - started
    for each in opened:
        each.close()
    latencies.sort()
    at = lambda share: round(latencies[int(share * (len(latencies) - 1))] * 1000, 2)  # noqa: E731
    return round(len(latencies) * calls_each / took), round(moved / took), at(0.5), at(0.99)


def run(url: str, seconds: float, connections: int) -> list[Row]:
    """Measure each workload on one queue; the pulls eat what the pushes left."""
    with httpx.Client(headers={"authorization": f"Bearer {_TOKEN}"}) as client:
        account = f"{url}/accounts/{_ACCOUNT}/queues"
        queue_id = client.post(account, json={"queue_name": "bench"}).json()["result"]["queue_id"]
        client.post(f"{account}/{queue_id}/consumers", json={"type": "http_pull"})
    messages = f"/accounts/{_ACCOUNT}/queues/{queue_id}/messages"
    workloads = [
        (_SINGLE[0], push, 1),
        (f"push, batch of {_BATCH}", push_batch, 1),
        (_SINGLE[1], pull_and_ack, 2),
    ]
    return [
        Row(name, *uvloop.run(measure(url, messages, work, calls, seconds, connections)))
        for name, work, calls in workloads
    ]


def main() -> None:
    """Start the emulator, measure it, print, and end it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        emulator = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cutmv.emulator",
                f"--db={Path(folder) / 'bench.sqlite3'}",
                "--no-rate-limit",
                f"--api-token={_TOKEN}",
                f"--account-id={_ACCOUNT}",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            os.sched_setaffinity(emulator.pid, cores[:1])
            os.sched_setaffinity(0, cores[-1:])
            url = emulator.stdout.readline().removeprefix("listening on ").strip()
            rows = run(url, options.seconds, options.connections)
        finally:
            emulator.terminate()
            emulator.wait(10)
    print(f"{'workload':<20} {'requests/s':>11} {'messages/s':>11} {'p50 ms':>8} {'p99 ms':>8}")
    for row in rows:
        print(
            f"{row.workload:<20} {row.requests_per_s:>11,} {row.messages_per_s:>11,}"
            f" {row.p50_ms:>8} {row.p99_ms:>8}"
        )
    result = {
        "bench": "emulator",
        "requests_per_s": min(row.requests_per_s for row in rows if row.workload in _SINGLE),
        "connections": options.connections,
        "workloads": {row.workload: vars(row) for row in rows},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
