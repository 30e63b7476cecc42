"""How fast Celery is over `cloudflare://` and over Redis, near and 50 ms away.

    python bench/transport.py [--tasks 5000] [--quick]

For each broker: no-op tasks are published by one thread and by sixteen, and drained by a real
`celery worker` of two prefork processes; then tasks are published one at a time to the idle
worker, and at a steady rate. Cloudflare is the emulator, on this machine, without its rate limit
(an account's 1,200 calls in five minutes would be all that is measured); Redis is a real one.
Prints a Markdown table, and then one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery
from transport_app import RECORD, make_app

HERE = Path(__file__).parent
#: The one account and token of a fresh emulator.
ACCOUNT, TOKEN = "0" * 32, "bench"
#: Threads of the wide publisher.
THREADS = 16
#: Tasks a second of the steady load, and seconds between lone tasks at least and at most.
STEADY_RATE, GAPS_S = 50, (0.3, 1.3)
#: Seconds after which a measurement is given up.
DEADLINE_S = 300.0


@dataclass(frozen=True)
class Scale:
    """How many tasks each measurement has."""

    drain: int
    one_thread: int
    lone: int
    steady: int


@dataclass(frozen=True)
class Broker:
    """A running broker: what Celery needs, and how many HTTP calls it has had."""

    name: str
    url: str
    options: dict[str, object]
    calls: Callable[[], int]


@dataclass(frozen=True)
class Row:
    """One broker's figures; latencies from publish to start, in milliseconds."""

    broker: str
    publish_1_per_s: int
    publish_16_per_s: int
    drain_per_s: int
    idle_p50_ms: float
    idle_p99_ms: float
    steady_p50_ms: float
    steady_p99_ms: float
    publish_calls_per_task: float | None
    drain_calls_per_task: float | None


@contextlib.contextmanager
def child(*argv: str, **options: object) -> Iterator[subprocess.Popen]:
    """Run a program, and end it and all its children."""
    process = subprocess.Popen(argv, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def cloudflare(latency_ms: int, folder: Path) -> Iterator[Broker]:
    """The emulator; its latency is that of each call."""
    argv = [sys.executable, "-m", "cutmv.emulator", "--no-rate-limit"]
    argv += [f"--db={folder / 'queues.sqlite3'}", f"--latency-ms={latency_ms}"]
    argv += [f"--api-token={TOKEN}", f"--account-id={ACCOUNT}"]
    with child(*argv, stdout=subprocess.PIPE, text=True) as emulator:
        base = emulator.stdout.readline().removeprefix("listening on ").strip()
        stats = base.removesuffix("/client/v4") + "/_emulator/stats"

        def calls() -> int:
            with urllib.request.urlopen(stats) as answer:
                routes = json.load(answer)["calls"]
            return sum(sum(counts.values()) for counts in routes.values())

        options = {"api_base_url": base, "rate_limit": 0}
        yield Broker(
            f"cloudflare, {latency_ms} ms", f"cloudflare://:{TOKEN}@{ACCOUNT}", options, calls
        )


@contextlib.contextmanager
def redis(latency_ms: int, folder: Path) -> Iterator[Broker]:
    """A Redis that keeps nothing on disk, behind a line as long as `latency_ms`."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("bench/transport.py needs redis-server: apt-get install redis-server.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [program, "--port", str(port), "--save", "", "--dir", str(folder)]
    with child(*argv, stdout=subprocess.DEVNULL), contextlib.ExitStack() as stack:
        wait_for(lambda: answers(port), "Redis answers")
        if latency_ms:
            argv = [sys.executable, str(HERE / "delay_line.py"), f"127.0.0.1:{port}"]
            argv += ["--round-trip-ms", str(latency_ms)]
            line = stack.enter_context(child(*argv, stdout=subprocess.PIPE, text=True))
            port = int(line.stdout.readline())
        yield Broker(f"redis, {latency_ms} ms", f"redis://127.0.0.1:{port}/0", {}, lambda: 0)


def answers(port: int) -> bool:
    """Whether someone listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return once it is true."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"given up after {DEADLINE_S:.0f} s: {what}")
        time.sleep(0.01)


def publish(app: Celery, count: int, threads: int) -> float:
    """Publish so many tasks, each as a user does; returns tasks a second."""
    task = app.tasks["nothing"]
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: task.delay(time.time()), range(count)))
    return count / (time.perf_counter() - started)


def steadily(app: Celery, count: int) -> None:
    """Publish at a steady rate, each task at its own time, however long the one before takes."""
    task, begun = app.tasks["nothing"], time.monotonic()

    def at_its_time(number: int) -> None:
        time.sleep(max(0.0, begun + number / STEADY_RATE - time.monotonic()))
        task.delay(time.time())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(at_its_time, range(count)))


def measure(broker: Broker, scale: Scale, folder: Path) -> Row:
    """All figures of one broker."""
    starts = folder / "starts"
    starts.touch()

    def started() -> list[tuple[float, float]]:
        return list(RECORD.iter_unpack(starts.read_bytes()))

    def settled(count: int) -> list[tuple[float, float]]:
        """The `count` starts that came last, once there are as many more as before."""
        nonlocal seen
        seen += count
        wait_for(lambda: starts.stat().st_size >= seen * RECORD.size, "the tasks have started")
        return started()[-count:]

    seen = 0
    app = make_app(broker.url, broker.options)
    one = publish(app, scale.one_thread, 1)
    before = broker.calls()
    many = publish(app, scale.drain, THREADS)
    publishing = broker.calls() - before

    before = broker.calls()
    env = {
        **os.environ,
        "BENCH_BROKER": broker.url,
        "BENCH_OPTIONS": json.dumps(broker.options),
        "BENCH_STARTS": str(starts),
        "PYTHONPATH": str(HERE),
    }
    argv = [sys.executable, "-m", "celery", "-A", "transport_app", "worker", "-c", "2"]
    with (folder / "worker.log").open("wb") as log, child(*argv, env=env, stdout=log, stderr=log):
        backlog = scale.one_thread + scale.drain
        drained = sorted(at for _, at in settled(backlog))
        draining = broker.calls() - before

        for _ in range(scale.lone):
            time.sleep(random.uniform(*GAPS_S))
            publish(app, 1, 1)
        idle = latencies_ms(settled(scale.lone))
        steadily(app, scale.steady)
        steady = latencies_ms(settled(scale.steady))
    app.close()
    http = broker.url.startswith("cloudflare:")
    return Row(
        broker=broker.name,
        publish_1_per_s=round(one),
        publish_16_per_s=round(many),
        drain_per_s=round((backlog - 1) / (drained[-1] - drained[0])),
        idle_p50_ms=percentile(idle, 0.5),
        idle_p99_ms=percentile(idle, 0.99),
        steady_p50_ms=percentile(steady, 0.5),
        steady_p99_ms=percentile(steady, 0.99),
        publish_calls_per_task=round(publishing / scale.drain, 3) if http else None,
        drain_calls_per_task=round(draining / backlog, 3) if http else None,
    )


def latencies_ms(records: list[tuple[float, float]]) -> list[float]:
    """From publish to start, sorted."""
    return sorted((start - published) * 1000 for published, start in records)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed."""
    return round(values[min(len(values) - 1, int(share * len(values)))], 1)


def table(rows: list[Row]) -> str:
    """The figures for people, in Markdown."""
    heads = ["broker", "publish, 1 thread", "publish, 16 threads", "drain", "idle p50", "idle p99",
             f"{STEADY_RATE}/s p50", f"{STEADY_RATE}/s p99", "calls/task to publish",
             "calls/task to run"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for row in rows:
        cells = [
            row.broker,
            *(f"{n:,}/s" for n in (row.publish_1_per_s, row.publish_16_per_s, row.drain_per_s)),
            *(f"{ms:,.0f} ms" for ms in (row.idle_p50_ms, row.idle_p99_ms)),
            *(f"{ms:,.0f} ms" for ms in (row.steady_p50_ms, row.steady_p99_ms)),
            *(
                "-" if calls is None else f"{calls:.3f}"
                for calls in (row.publish_calls_per_task, row.drain_calls_per_task)
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure each broker in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=5_000, help="tasks of the drain")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: a trial")
    options = parser.parse_args()
    part = 10 if options.quick else 1
    load_before = os.getloadavg()[0]
    rows = []
    for broker, latency_ms in ((cloudflare, 0), (redis, 0), (cloudflare, 50), (redis, 50)):
        # At 50 ms a thread that waits for each answer, and Redis's worker, take ten a second.
        far = 10 if latency_ms else 1
        drain = options.tasks // part // (far if broker is redis else 1)
        scale = Scale(drain, 1_000 // part // far, 60 // part, 500 // part)
        with tempfile.TemporaryDirectory() as name, broker(latency_ms, Path(name)) as running:
            rows.append(measure(running, scale, Path(name)))
        print(f"{rows[-1].broker} measured", file=sys.stderr)
    print(table(rows))
    result = {
        "bench": "transport",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load_before, 2),
        "tasks": options.tasks // part,
        "brokers": [asdict(row) for row in rows],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
