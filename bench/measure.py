"""One broker's figures: tasks are published, drained, and started by an idle and a busy worker."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from brokers import HERE, Broker, Usage, child, wait_for
from celery import Celery
from transport_app import RECORD, make_app

#: Threads of the wide publisher.
THREADS = 16
#: Tasks a second of the steady load.
STEADY_RATE = 50
#: Seconds between lone tasks, at least and at most: by then a queue is polled most rarely.
GAPS_S = (2.0, 3.0)


@dataclass(frozen=True)
class Scale:
    """How many tasks each measurement has; 0 leaves it out."""

    one_thread: int
    batch: int
    drain: int
    lone: int
    steady: int


@dataclass(frozen=True)
class Row:
    """One broker's figures; latencies from publish to start, in milliseconds.

    What a broker does not have, or nobody counts, is None.
    """

    kind: str
    latency_ms: int
    publish_1_per_s: int
    publish_batch_per_s: int | None
    publish_16_per_s: int
    drain_per_s: int
    idle_p50_ms: float
    idle_p99_ms: float
    steady_p50_ms: float
    steady_p99_ms: float
    publish_calls_per_task: float | None
    drain_calls_per_task: float | None
    operations_per_task: float | None


def measure(broker: Broker, scale: Scale, folder: Path) -> Row:
    """All figures of one broker."""
    starts = Starts(folder / "starts")
    app = make_app(broker.url, broker.options)
    begun = _usage(broker)
    one = publish(app, scale.one_thread, 1)
    batch = publish_batched(app, scale.batch) if scale.batch else None
    before = _usage(broker)
    many = publish(app, scale.drain, THREADS)
    publishing = _usage(broker) - before

    before = _usage(broker)
    backlog = scale.one_thread + scale.batch + scale.drain
    with worker(broker, folder, starts):
        drained = sorted(at for _, at in starts.next(backlog))
        time.sleep(1)  # the last acks
        draining, whole = _usage(broker) - before, _usage(broker) - begun

        for _ in range(scale.lone):
            time.sleep(random.uniform(*GAPS_S))
            publish(app, 1, 1)
        idle = latencies_ms(starts.next(scale.lone))
        steadily(app, scale.steady)
        steady = latencies_ms(starts.next(scale.steady))
    app.close()
    counted = broker.usage is not None
    return Row(
        kind=broker.kind,
        latency_ms=broker.latency_ms,
        publish_1_per_s=round(one),
        publish_batch_per_s=None if batch is None else round(batch),
        publish_16_per_s=round(many),
        drain_per_s=round((backlog - 1) / (drained[-1] - drained[0])),
        idle_p50_ms=percentile(idle, 0.5),
        idle_p99_ms=percentile(idle, 0.99),
        steady_p50_ms=percentile(steady, 0.5),
        steady_p99_ms=percentile(steady, 0.99),
        publish_calls_per_task=round(publishing.calls / scale.drain, 3) if counted else None,
        drain_calls_per_task=round(draining.calls / backlog, 3) if counted else None,
        operations_per_task=round(whole.operations / backlog, 3) if counted else None,
    )


class Starts:
    """The file in which tasks note when they started, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = 0
        path.touch()

    def next(self, count: int) -> list[tuple[float, float]]:
        """Wait for `count` more starts: when each was published, and when it started."""
        end = (self._seen + count) * RECORD.size
        wait_for(lambda: self.path.stat().st_size >= end, "the tasks have started")
        records = list(RECORD.iter_unpack(self.path.read_bytes()[:end]))[self._seen :]
        self._seen += count
        return records


def worker(
    broker: Broker, folder: Path, starts: Starts
) -> AbstractContextManager[subprocess.Popen]:
    """A real worker of two prefork processes, as a context."""
    env = {
        **os.environ,
        "BENCH_BROKER": broker.url,
        "BENCH_OPTIONS": json.dumps(broker.options),
        "BENCH_STARTS": str(starts.path),
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    }
    argv = [sys.executable, "-m", "celery", "-A", "transport_app", "worker", "-c", "2"]
    log = (folder / "worker.log").open("wb")
    return child(*argv, env=env, stdout=log, stderr=log)


def publish(app: Celery, count: int, threads: int) -> float:
    """Publish so many tasks, each as a user does; returns tasks a second."""
    task = app.tasks["nothing"]
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: task.delay(time.time()), range(count)))
    return count / (time.perf_counter() - started)


def publish_batched(app: Celery, count: int) -> float:
    """Publish so many tasks from one thread in a batch block; returns tasks a second."""
    from cutmv.transports.cloudflare import publish_batch

    task = app.tasks["nothing"]
    started = time.perf_counter()
    with publish_batch(app):
        for _ in range(count):
            task.delay(time.time())
    return count / (time.perf_counter() - started)


def steadily(app: Celery, count: int) -> None:
    """Publish at a steady rate, each task at its own time, however long the one before takes."""
    task, begun = app.tasks["nothing"], time.monotonic()

    def at_its_time(number: int) -> None:
        time.sleep(max(0.0, begun + number / STEADY_RATE - time.monotonic()))
        task.delay(time.time())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(at_its_time, range(count)))


def latencies_ms(records: list[tuple[float, float]]) -> list[float]:
    """From publish to start, sorted."""
    return sorted((start - published) * 1000 for published, start in records)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed."""
    return round(values[min(len(values) - 1, int(share * len(values)))], 1)


def _usage(broker: Broker) -> Usage:
    return broker.usage() if broker.usage else Usage(0, 0)
