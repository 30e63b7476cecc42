"""What idle workers cost: calls that count against the account's limit, and billed operations.

    python bench/idle.py [--quick] [--workers 1,4,16] [--only plain] [--latency-ms 50]

For each number of workers, real `celery worker`s (`-P solo`) without a task are started at once on
a fresh emulator, which counts as Cloudflare does, with its rate limit on. The first minute counts
from the start of the first process. The steady figures are of the minutes after that, from which an
hour and a month are extrapolated. Then `inspect ping` with Celery's default timeout asks for all of
them. With an edge Worker, that runs in the real Workers runtime (`wrangler dev`).

Prints a Markdown table, the bounds, and then one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import targets
from brokers import ACCOUNT, HERE, TOKEN, child, wait_for
from edge_sites import KEY, Worker, install

#: Each way that is measured: its options, whether there is an edge Worker, and who else is there.
KINDS = {
    "plain": ({}, False, False),
    "gossip": ({"gossip": True}, False, False),
    "flower": ({}, False, True),
    "edge": ({}, True, False),
    "edge, no gossip": ({"gossip": False}, True, False),
}
#: Calls that an account has in a window (s), and dollars for a million operations.
CALLS, WINDOW_S, DOLLARS = 1_200, 300, 0.40
#: Calls that count against nothing.
FREE = {"pull", "ack"}
#: Seconds of the start, and after it until figures are steady.
START_S, SETTLE_S = 60.0, 20.0
#: Parts of the account's calls that a start and idling may take, and dollars a month for reads.
START_SHARE, IDLE_SHARE, READS_DOLLARS = 0.4, 0.2, 4.0
MONTH_S = 30 * 86_400

APP = """
import json, os
import cutmv.transports.cloudflare
from celery import Celery
app = Celery(broker=os.environ["BENCH_BROKER"], set_as_current=True)
app.conf.broker_transport_options = json.loads(os.environ["BENCH_OPTIONS"])
"""


@dataclass(frozen=True)
class Row:
    """One number of workers. Operations are what Cloudflare bills, of all workers together."""

    kind: str
    workers: int
    start_calls: int
    start_operations: int
    steady_minutes: float
    hour_calls: int
    hour_operations: int
    window_calls: int
    reads_dollars_a_month_each: float
    ping_replies: int


@dataclass(frozen=True)
class Counted:
    """What the emulator has counted."""

    calls: int
    operations: int
    reads: int

    def __sub__(self, before: Counted) -> Counted:
        return Counted(
            self.calls - before.calls,
            self.operations - before.operations,
            self.reads - before.reads,
        )


class Site:
    """A fresh emulator, perhaps an edge Worker, and the environment of what uses them."""

    def __init__(self, folder: Path, base: str, options: dict[str, Any]) -> None:
        (folder / "bench_app.py").write_text(APP)
        self.folder, self.base = folder, base
        self.env = {
            **os.environ,
            "BENCH_BROKER": f"cloudflare://:{TOKEN}@{ACCOUNT}",
            "BENCH_OPTIONS": json.dumps({"api_base_url": base, **options}),
            "PYTHONPATH": os.pathsep.join([str(folder), str(HERE.parent)]),
            "FLOWER_UNAUTHENTICATED_API": "true",
        }

    def counted(self) -> Counted:
        """What was counted so far."""
        stats = self.base.removesuffix("/client/v4") + "/_emulator/stats"
        with urllib.request.urlopen(stats) as answer:
            document = json.load(answer)
        calls = sum(
            count
            for route, answers in document["calls"].items()
            if route not in FREE
            for count in answers.values()
        )
        billed = document["billed"]
        return Counted(calls, sum(billed.values()), billed["reads"])

    @contextlib.contextmanager
    def celery(self, *argv: str) -> Iterator[subprocess.Popen]:
        """Run a Celery program, and end it."""
        command = [sys.executable, "-m", "celery", "-A", "bench_app", *argv]
        log = (self.folder / "log").open("ab")
        with child(*command, env=self.env, cwd=self.folder, stdout=log, stderr=log) as process:
            yield process

    def ready(self) -> int:
        """How many workers have said that they are ready."""
        return (self.folder / "log").read_text(errors="replace").count(" ready.")

    def ping(self) -> int:
        """How many workers answer in Celery's default time."""
        code = "from bench_app import app; print(len(app.control.inspect().ping() or ()))"
        argv = [sys.executable, "-c", code]
        return int(subprocess.check_output(argv, env=self.env, cwd=self.folder))


@contextlib.contextmanager
def site(folder: Path, latency_ms: int, options: dict[str, Any], edge: bool) -> Iterator[Site]:
    """Start an emulator, and an edge Worker."""
    argv = [sys.executable, "-m", "cutmv.emulator", f"--db={folder / 'queues.sqlite3'}"]
    argv += [f"--latency-ms={latency_ms}", f"--api-token={TOKEN}", f"--account-id={ACCOUNT}"]
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(child(*argv, stdout=subprocess.PIPE, text=True))
        base = emulator.stdout.readline().removeprefix("listening on ").strip()
        if edge:
            install()
            worker = Worker(folder / "edge", {}, {})
            worker.start()
            stack.callback(worker.stop)
            options = {**options, "edge_url": worker.url, "edge_keys": KEY}
        yield Site(folder, base, options)


def measure(kind: str, workers: int, minutes: float, latency_ms: int, folder: Path) -> Row:
    """Start so many workers, and let them idle."""
    options, edge, flower = KINDS[kind]
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(site(folder, latency_ms, options, edge))
        begun = time.monotonic()
        if flower:
            stack.enter_context(running.celery("flower", "--port=0", "--address=127.0.0.1"))
        processes = [
            stack.enter_context(
                running.celery("worker", "-P", "solo", "-l", "INFO", "-n", f"w{number}@bench")
            )
            for number in range(workers)
        ]
        wait_for(lambda: running.ready() >= workers, "the workers are ready")
        time.sleep(max(0.0, begun + START_S - time.monotonic()))
        start = running.counted()
        time.sleep(SETTLE_S)
        before, steady = running.counted(), time.monotonic()
        time.sleep(60 * minutes)
        used, seconds = running.counted() - before, time.monotonic() - steady
        replies = running.ping()
        for process in processes:
            process.send_signal(signal.SIGTERM)
    reads = used.reads / seconds * MONTH_S / 1e6 * DOLLARS
    return Row(
        kind=kind,
        workers=workers,
        start_calls=start.calls,
        start_operations=start.operations,
        steady_minutes=round(seconds / 60, 1),
        hour_calls=round(used.calls / seconds * 3600),
        hour_operations=round(used.operations / seconds * 3600),
        window_calls=round(used.calls / seconds * WINDOW_S),
        reads_dollars_a_month_each=round(reads / workers, 2),
        ping_replies=replies,
    )


def table(rows: list[Row]) -> str:
    """For people, in Markdown; dollars are of all operations of an hour, times a month's hours."""
    heads = ["", "workers", "calls, first minute", "billed", "calls an hour", "billed",
             "of the account", "a month, each", "ping"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for row in rows:
        month = row.hour_operations / row.workers * MONTH_S / 3600 / 1e6 * DOLLARS
        share = f"{row.window_calls / CALLS:.1%}"
        cells = [str(row.workers), str(row.start_calls), f"{row.start_operations:,}",
                 f"{row.hour_calls:,}", f"{row.hour_operations:,}", share, f"${month:.2f}",
                 f"{row.ping_replies} of {row.workers}"]  # fmt: skip
        lines.append(f"| {row.kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def judge(rows: list[Row]) -> list[targets.Target]:
    """Hold the rows to what was promised; gossip without the edge is a user's own choice."""
    judged = []
    for row in rows:
        name = f"{row.kind}, {row.workers} idle worker(s)"
        start = round(100 * row.start_calls / CALLS, 1)
        idle = round(100 * row.window_calls / CALLS, 1)
        judged += [
            targets.most(
                f"{name}, % of the account's calls at the start", start, 100 * START_SHARE
            ),
            targets.most(f"{name}, % of the account's calls after it", idle, 100 * IDLE_SHARE),
            targets.most(f"{name}, no answer to ping", row.workers - row.ping_replies, 0),
        ]
        if row.kind != "flower":  # which reads, too
            dollars = row.reads_dollars_a_month_each
            judged.append(targets.most(f"{name}, $ a month in reads, each", dollars, READS_DOLLARS))
    return judged


def main() -> None:
    """Measure each, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a trial: a steady minute")
    parser.add_argument("--only", action="append", choices=KINDS)
    parser.add_argument("--workers", default="1,4,16")
    parser.add_argument("--latency-ms", type=int, default=50)
    options = parser.parse_args()
    rows: list[Row] = []
    load_before = os.getloadavg()[0]
    for kind in options.only or KINDS:
        for workers in map(int, options.workers.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                minutes = 1 if options.quick else 3
                rows.append(measure(kind, workers, minutes, options.latency_ms, Path(folder)))
            print(f"{kind}, {workers}: {rows[-1]}", file=sys.stderr)
    print(table(rows))
    judged = judge(rows)
    print(f"\n{targets.table(judged)}\n")
    result = {
        "bench": "idle",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load_before, 2),
        "latency_ms": options.latency_ms,
        "rows": [asdict(row) for row in rows],
        "targets": [asdict(target) for target in judged],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
