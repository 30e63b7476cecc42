"""What the result backend `cloudflare://` can do, against Redis.

    python bench/results.py [--quick]

Each backend is on this machine, near and 50 ms away: the edge Worker in the real Workers runtime
(`wrangler dev`), and a real Redis. Results are stored and read by one thread and by sixteen. Then
one process stores results, one at a time, for which this one waits; the time is from just before
the store to the return of `get()`, and is held to that of an empty request. Then a real worker runs
a chord of a thousand. Prints a Markdown table, the targets, and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from brokers import HERE, child, cloudflare, line_to, redis, wait_for
from celery import Celery, states
from edge_sites import KEY, edge_worker
from measure import percentile
from redis import Redis

from cutmv.backends.cloudflare.connection import connection_to

ROOT = HERE.parent
#: The app whose worker runs the chord.
APP = "tests.support.results_app"
#: Threads of the wide reader and writer.
THREADS = 16
#: Milliseconds to a server that is far away, there and back.
FAR_MS = 50
#: Milliseconds that `get()` may take beyond an empty request's.
WAIT_ALLOWANCE_MS = 20
#: Seconds between two results that are waited for: who waits is at rest by then.
GAP_S = 0.1

#: Stores the results whose ids come line by line, each with the time at which it was stored.
STORER = """
import json, sys, time
from celery import Celery
told = json.loads(sys.argv[1])
app = Celery("storer", broker="memory://", backend=told["url"])
app.conf.result_backend_transport_options = told["options"]
app.backend.store_result("warm", 0, "SUCCESS")
print("ready", flush=True)
for line in sys.stdin:
    time.sleep(told["gap_s"])
    app.backend.store_result(line.strip(), time.monotonic(), "SUCCESS")
"""


@dataclass(frozen=True)
class Place:
    """A result backend that is so far away."""

    kind: str
    latency_ms: int
    url: str
    options: dict[str, Any]
    #: Makes an empty request, and waits for its answer.
    ask: Callable[[], object]

    def app(self) -> Celery:
        """A stranger's app that keeps its results there."""
        app = Celery(f"bench-{uuid4().hex}", broker="memory://", backend=self.url)
        app.conf.result_backend_transport_options = self.options
        return app


@dataclass(frozen=True)
class Row:
    """One place's figures."""

    kind: str
    latency_ms: int
    round_trip_ms: float
    store_1_per_s: int
    store_16_per_s: int
    get_1_per_s: int
    get_16_per_s: int
    wait_p50_ms: float
    wait_p99_ms: float


@dataclass(frozen=True)
class Scale:
    """How many results each measurement has."""

    one: int
    many: int
    waits: int
    chord: int


@contextlib.contextmanager
def on_cloudflare(latency_ms: int, folder: Path) -> Iterator[Place]:
    """An edge Worker behind a line."""
    with (
        edge_worker(folder, {}) as edge,
        line_to(urlsplit(edge.url).port or 0, latency_ms) as near,
    ):
        options = {"edge_url": f"http://127.0.0.1:{near}", "edge_keys": KEY}
        with httpx.Client(base_url=options["edge_url"]) as http:
            ask = partial(http.get, "/healthz")
            yield Place("cloudflare", latency_ms, "cloudflare://", options, ask)
        connection_to(options["edge_url"], KEY).close()


@contextlib.contextmanager
def on_redis(latency_ms: int, folder: Path) -> Iterator[Place]:
    """A Redis behind a line."""
    with redis(latency_ms, folder) as broker, Redis.from_url(broker.url) as client:
        yield Place("redis", latency_ms, broker.url, {}, client.ping)


def took_ms(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    act()
    return (time.monotonic() - began) * 1000


def rate(act: Callable[[str], object], ids: list[str], threads: int) -> int:
    """How many times a second it is done."""
    act(ids[0])
    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(act, ids))
    return round(len(ids) / (time.monotonic() - began))


def measure(place: Place, scale: Scale) -> Row:
    """The figures of one place, but for chords."""
    place.ask()
    with place.app() as app:
        round_trips = [took_ms(place.ask) for _ in range(scale.waits)]
        one = [uuid4().hex for _ in range(scale.one)]
        many = [uuid4().hex for _ in range(scale.many)]

        def store(task_id: str) -> None:
            app.backend.store_result(task_id, {"n": 1}, states.SUCCESS)

        def get(task_id: str) -> None:
            assert app.backend.get_task_meta(task_id, cache=False)["result"] == {"n": 1}

        stored = rate(store, one, 1), rate(store, many, THREADS)
        read = rate(get, one, 1), rate(get, many, THREADS)
        waits = sorted(waited(place, app, scale.waits))
    return Row(
        place.kind,
        place.latency_ms,
        percentile(sorted(round_trips), 0.5),
        *stored,
        *read,
        percentile(waits, 0.5),
        percentile(waits, 0.99),
    )


def waited(place: Place, app: Celery, count: int) -> list[float]:
    """The milliseconds from each store, by another process, to the return of `get()`."""
    told = json.dumps({"url": place.url, "options": place.options, "gap_s": GAP_S})
    argv = [sys.executable, "-c", STORER, told]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    waits = []
    with child(*argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as storer:
        assert storer.stdout.readline().strip() == "ready"
        for turn in range(count + 1):
            task_id = uuid4().hex
            storer.stdin.write(f"{task_id}\n")
            storer.stdin.flush()
            stored_at = app.AsyncResult(task_id).get(timeout=60)
            if turn:  # the first opens connections
                waits.append((time.monotonic() - stored_at) * 1000)
        storer.stdin.close()
    return waits


def chord_s(broker: str, results: str, scale: Scale, folder: Path) -> float:
    """The seconds of a chord, from its publish to its body's result."""
    with contextlib.ExitStack() as stack:
        env: dict[str, str] = {"TRANSPORT_LOG": str(folder / "notes"), "PYTHONPATH": str(ROOT)}
        if "redis" in (broker, results):
            url = stack.enter_context(redis(0, folder)).url
            env |= {"TRANSPORT_BROKER": url, "TRANSPORT_RESULTS": url}
        if results == "cloudflare":
            edge = stack.enter_context(on_cloudflare(0, folder))
            env["TRANSPORT_RESULTS"] = "cloudflare://"
            env |= {"CLOUDFLARE_EDGE_URL": edge.options["edge_url"], "CLOUDFLARE_EDGE_KEYS": KEY}
        if broker == "cloudflare":
            queues = stack.enter_context(cloudflare(0, folder))
            env["TRANSPORT_BROKER"] = queues.url
            env["TRANSPORT_OPTIONS"] = json.dumps(queues.options)
        argv = [sys.executable, "-m", "celery", "-A", APP, "worker", "-c", "4", "-l", "INFO"]
        argv += ["--without-gossip", "--without-mingle"]
        log = folder / "worker.log"
        out = stack.enter_context(log.open("wb"))
        stack.enter_context(child(*argv, env={**os.environ, **env}, stdout=out, stderr=out))
        wait_for(lambda: " ready." in log.read_text(), "the worker is ready")
        code = (
            "import time; import tests.support.results_app as a; from celery import chord\n"
            "a.add.delay(1, 1).get(timeout=60); began = time.monotonic()\n"
            f"header = [a.add.s(n, n) for n in range({scale.chord})]\n"
            "total = chord(header, a.total.s()).delay().get(timeout=280)\n"
            f"assert total == {scale.chord} * ({scale.chord} - 1), total\n"
            "print(time.monotonic() - began)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return float(done.stdout)


def table(rows: list[Row]) -> str:
    """The figures for people, in Markdown."""
    heads = ["", "empty request", "store/s, 1 thread", "store/s, 16", "get/s, 1", "get/s, 16"]
    heads += ["wait p50", "wait p99"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for row in rows:
        rates = (row.store_1_per_s, row.store_16_per_s, row.get_1_per_s, row.get_16_per_s)
        cells = [f"{row.round_trip_ms:.0f} ms", *(f"{each:,}" for each in rates)]
        cells += [f"{row.wait_p50_ms:.0f} ms", f"{row.wait_p99_ms:.0f} ms"]
        lines.append(f"| {row.kind}, {row.latency_ms} ms | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a trial: few results, a small chord")
    quick = parser.parse_args().quick
    scale = Scale(30, 200, 10, 50) if quick else Scale(200, 2_000, 100, 1_000)
    load = os.getloadavg()[0]
    rows, chords = [], {}
    for make in (on_cloudflare, on_redis):
        for latency_ms in (0, FAR_MS):
            with tempfile.TemporaryDirectory() as folder, make(latency_ms, Path(folder)) as place:
                rows.append(measure(place, scale))
    for pair in (("cloudflare", "cloudflare"), ("redis", "cloudflare"), ("redis", "redis")):
        with tempfile.TemporaryDirectory() as folder:
            chords[" + ".join(pair)] = round(chord_s(*pair, scale, Path(folder)), 1)
    print(table(rows))
    print(f"\n| broker + results | a chord of {scale.chord:,} |\n| --- | ---: |")
    for pair, seconds in chords.items():
        print(f"| {pair} | {seconds} s |")
    print("\n| target | bound | measured | |\n| --- | ---: | ---: | --- |")
    for row in rows:
        if row.kind == "cloudflare":
            bound = row.round_trip_ms + WAIT_ALLOWANCE_MS
            met = "pass" if row.wait_p50_ms <= bound else "FAIL"
            where = f"wait at {row.latency_ms} ms, p50, ms"
            print(f"| {where} | ≤ {bound:.1f} | {row.wait_p50_ms:.1f} | {met} |")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    found = {"at": at, "load": load, "rows": [asdict(row) for row in rows], "chords": chords}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
