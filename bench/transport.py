"""How fast Celery is over `cloudflare://`, over Redis and over SQS, near and 50 ms away.

    python bench/transport.py [--tasks 5000] [--quick] [--only cloudflare-50]

For each broker: no-op tasks are published by one thread, by one in a batch block, and by sixteen,
and drained by a real `celery worker` of two prefork processes; then tasks are published one at a
time to the idle worker, and at a steady rate. Cloudflare is the emulator, on this machine, without
its rate limit (an account's 1,200 calls in five minutes would be all that is measured); Redis is a
real one, SQS is moto's server. Prints two Markdown tables, the figures and the targets, and then
one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import targets
from brokers import cloudflare, redis, sqs
from measure import STEADY_RATE, Row, Scale, measure

#: By name and round trip in milliseconds, and how many tasks it gets of those asked for: a broker
#: that takes ten a second is not kept for minutes.
BROKERS = {
    "cloudflare-0": (cloudflare, 0, 1),
    "redis-0": (redis, 0, 1),
    "sqs-0": (sqs, 0, 10),
    "cloudflare-50": (cloudflare, 50, 1),
    "redis-50": (redis, 50, 10),
    "sqs-50": (sqs, 50, 20),
}


def scale(tasks: int, latency_ms: int, slower: int, ours: bool) -> Scale:
    """How much of each a broker is given that is so far away, and so much slower."""
    # One thread that waits for each answer publishes ten a second at 50 ms, on any broker.
    one = tasks // 5 // max(slower, 10 if latency_ms else 1)
    return Scale(
        one_thread=one,
        batch=tasks if ours else 0,
        drain=tasks // slower,
        lone=max(4, tasks // (160 if ours else 400)),
        steady=tasks // 10 // (2 if slower > 1 else 1),
    )


def table(rows: Iterable[Row]) -> str:
    """The figures for people, in Markdown."""
    heads = ["broker", "publish, 1 thread", "in a batch block", "16 threads", "drain", "idle p50",
             "idle p99", f"{STEADY_RATE}/s p50", f"{STEADY_RATE}/s p99", "calls/task to publish",
             "calls/task to run", "billed/task"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for row in rows:
        rates = (row.publish_1_per_s, row.publish_batch_per_s, row.publish_16_per_s)
        times = (row.idle_p50_ms, row.idle_p99_ms, row.steady_p50_ms, row.steady_p99_ms)
        counts = (row.publish_calls_per_task, row.drain_calls_per_task, row.operations_per_task)
        cells = [
            f"{row.kind}, {row.latency_ms} ms",
            *("-" if n is None else f"{n:,}/s" for n in (*rates, row.drain_per_s)),
            *(f"{ms:,.0f} ms" for ms in times),
            *("-" if n is None else f"{n:.3f}" for n in counts),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure each broker in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=5_000, help="tasks of the drain")
    parser.add_argument("--quick", action="store_true", help="a tenth of all, no targets")
    parser.add_argument(
        "--only", action="append", choices=BROKERS, help="this broker, without the targets"
    )
    options = parser.parse_args()
    tasks = options.tasks // (10 if options.quick else 1)
    load_before = os.getloadavg()[0]
    rows: list[Row] = []
    for name in options.only or BROKERS:
        broker, latency_ms, slower = BROKERS[name]
        amount = scale(tasks, latency_ms, slower, ours=broker is cloudflare)
        with tempfile.TemporaryDirectory() as folder, broker(latency_ms, Path(folder)) as running:
            rows.append(measure(running, amount, Path(folder)))
        print(f"{name} measured", file=sys.stderr)
    print(table(rows))
    # In a trial, the calls that a worker makes at its start are shared by too few tasks.
    judged = [] if options.only or options.quick else targets.judge(rows)
    if judged:
        print(f"\n{targets.table(judged)}\n")
    result = {
        "bench": "transport",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load_before, 2),
        "tasks": tasks,
        "brokers": [asdict(row) for row in rows],
        "targets": [asdict(target) for target in judged],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
