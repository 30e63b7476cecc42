"""What the edge Worker is worth: tasks that it pushes, against polling and Redis; and its hub.

    python bench/edge.py [--quick] [--only push]

For each broker a real `celery worker` of two prefork processes is left idle, while the calls it
makes are counted; then tasks are published one at a time, and at a steady rate, and the time from
just before `delay()` to the task's first line is taken. Then events go to fifty subscribers by the
hub. The Worker runs in the real Workers runtime on this machine (`wrangler dev`), Cloudflare's REST
API is the emulator, Redis is a real one. Prints two Markdown tables, the figures and the targets,
and then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import subscribers
import targets
from brokers import Broker
from edge_sites import near_redis, pull, push, woken
from measure import (
    GAPS_S,
    STEADY_RATE,
    Starts,
    latencies_ms,
    percentile,
    publish,
    steadily,
    worker,
)
from transport_app import make_app

BROKERS = {"push": push, "pull": pull, "woken": woken, "redis": near_redis}
#: The other part, by the name that `--only` knows.
EVENTS = "events"
#: Who listens to the events, and the milliseconds that these may take.
SUBSCRIBERS, EVENT_P50_MS, EVENT_P99_MS = 50, 20, 100
#: Tasks after which a worker is at work, and seconds after which it is idle again.
WARM, SETTLE_S = 3, 15


@dataclass(frozen=True)
class Scale:
    """How many tasks, events and idle seconds each measurement has."""

    lone: int
    steady: int
    idle_s: float
    events: int


@dataclass(frozen=True)
class Row:
    """One broker's figures; latencies in milliseconds. `idle` is of a worker without tasks.

    Calls are those of the REST API, or Redis's commands; operations are what Cloudflare bills.
    """

    broker: str
    lone_p50_ms: float
    lone_p99_ms: float
    steady_p50_ms: float
    steady_p99_ms: float
    idle_calls_per_h: int
    idle_operations_per_h: int


def measure(broker: Broker, scale: Scale, folder: Path) -> Row:
    """All figures of one broker."""
    starts, app = Starts(folder / "starts"), make_app(broker.url, broker.options)
    with worker(broker, folder, starts):
        for _ in range(WARM):
            publish(app, 1, 1)
            starts.next(1)
        time.sleep(SETTLE_S)
        before, begun = broker.usage(), time.monotonic()
        time.sleep(scale.idle_s)
        used, hours = broker.usage() - before, (time.monotonic() - begun) / 3600

        for _ in range(scale.lone):
            time.sleep(random.uniform(*GAPS_S))
            publish(app, 1, 1)
        lone = latencies_ms(starts.next(scale.lone))
        steadily(app, scale.steady)
        steady = latencies_ms(starts.next(scale.steady))
    app.pool.force_close_all()  # with the connection to a hub that is about to end
    app.close()
    return Row(
        broker=broker.kind,
        lone_p50_ms=percentile(lone, 0.5),
        lone_p99_ms=percentile(lone, 0.99),
        steady_p50_ms=percentile(steady, 0.5),
        steady_p99_ms=percentile(steady, 0.99),
        idle_calls_per_h=round(used.calls / hours),
        idle_operations_per_h=round(used.operations / hours),
    )


def table(rows: Iterable[Row]) -> str:
    """The figures for people, in Markdown."""
    heads = ["", "idle p50", "idle p99", f"{STEADY_RATE}/s p50", f"{STEADY_RATE}/s p99",
             "idle calls/h", "billed/h"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for row in rows:
        times = (row.lone_p50_ms, row.lone_p99_ms, row.steady_p50_ms, row.steady_p99_ms)
        billed = "-" if row.broker == "redis" else f"{row.idle_operations_per_h:,}"
        cells = [*(f"{ms:,.0f} ms" for ms in times), f"{row.idle_calls_per_h:,}", billed]
        lines.append(f"| {row.broker} | {' | '.join(cells)} |")
    return "\n".join(lines)


def judge(events: subscribers.Events) -> list[targets.Target]:
    """Hold the events to what was promised."""
    to = f"publish to event, {events.subscribers} subscribers"
    return [
        targets.most(f"{to}, p50, ms", events.p50_ms, EVENT_P50_MS),
        targets.most(f"{to}, p99, ms", events.p99_ms, EVENT_P99_MS),
        targets.most(f"{to}, lost, twice or out of order", events.wrong, 0),
    ]


def main() -> None:
    """Measure each broker in turn, then the events, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a trial: a fifth of all, or so")
    parser.add_argument("--only", action="append", choices=[*BROKERS, EVENTS])
    options = parser.parse_args()
    scale = Scale(6, 100, 20, 100) if options.quick else Scale(30, 1_000, 120, 600)
    load_before = os.getloadavg()[0]
    rows: list[Row] = []
    events: subscribers.Events | None = None
    for name in options.only or [*BROKERS, EVENTS]:
        site = BROKERS.get(name, woken)  # the events need no queue, only the hub
        with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as running:
            if name == EVENTS:
                events = subscribers.measure(running, SUBSCRIBERS, scale.events)
            else:
                rows.append(measure(running, scale, Path(folder)))
        print(f"{name} measured", file=sys.stderr)
    if rows:
        print(table(rows))
    judged = judge(events) if events else []
    if judged:
        print(f"\n{targets.table(judged)}\n")
    result = {
        "bench": "edge",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load_before, 2),
        "brokers": [asdict(row) for row in rows],
        "events": asdict(events) if events else None,
        "targets": [asdict(target) for target in judged],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
