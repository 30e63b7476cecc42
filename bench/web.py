"""The web server with a thousand people who watch, a large upload, and a film of two hours.

    python bench/web.py [--only watch|upload|overview] [--quick] [--json]

**watch**: 1,000 WebSockets on 100 jobs of as many people, each job with four events a second, which
ten workers send by the webhook: how long an event takes to a client, what memory a client takes,
and how long an upload takes alone and beside it. **upload**: 5 GB in checked parts, and the memory
of the server meanwhile. **overview**: the first small pictures and the sound of a film of two
hours. Prints one JSON line, and a table of the targets; exit code 1 where one was missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from targets import Target, most, table
from watchers import Watched, claims_of, watch, work

from cutmv.client import Client
from cutmv.config import Settings
from cutmv.jobs import new_id
from cutmv.media import ffmpeg_path
from cutmv.services import Services
from tests.support.jobs import add_job
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server

#: Jobs, clients of each, and seconds for which they watch.
JOBS, CLIENTS, SECONDS = 100, 10, 30
#: The same for a trial.
QUICK_JOBS, QUICK_CLIENTS, QUICK_SECONDS = 10, 5, 8
#: Bytes of the upload beside, how often it is made, and bytes of the large one; bytes a second of a
#: line of 400 Mbit/s.
BESIDE_BYTES, UPLOADS, LARGE_BYTES, QUICK_LARGE_BYTES = 100_000_000, 3, 5_000_000_000, 200_000_000
LINE = 50_000_000
#: Seconds of the film that is looked at.
FILM_S = 7_200
#: What is wanted: milliseconds from an event to a client (p99), times the upload's time alone, MB
#: of the server's memory during the large upload, seconds to the first pictures and sound.
EVENT_P99_MS, BESIDE_RATIO, LARGE_MB, FIRST_S = 250, 1.25, 200, 5.0


def watched(server: WebServer, number: int) -> list[Watched]:
    """Make people, and a job of each, whose video is nowhere."""
    environment = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(server.data_dir)}
    services = Services.open(Settings.from_env(environment))
    jobs = []
    for each in range(number):
        person = services.accounts.add(f"person{each}-{new_id()}@example.com")
        key = services.api_keys.add(str(person.id), "bench")[1]
        job = add_job(services.store, "0-1", person_id=person.id)
        claims_of(services.store, job.steps[0].id).claim(job.steps[0].id, "redis")
        jobs.append(Watched(job.id, job.steps[0].id, key))
    services.store.close()
    return jobs


def processes(server: WebServer) -> list[psutil.Process]:
    """The server's processes that are there now."""
    parent = psutil.Process(server.process.child.pid)
    return [parent, *parent.children(recursive=True)]


def worker_memory(server: WebServer) -> int:
    """Bytes that the process has which serves people."""
    return int(psutil.Process(server.process.child.pid).children()[0].memory_info().rss)


@contextmanager
def most_memory(server: WebServer) -> Iterator[list[int]]:
    """The most bytes that all processes of the server had together until the end of the block.

    What several share is counted once (PSS).
    """
    context = get_context("spawn")
    stop, (found, other) = context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(server.process.child.pid, stop, other))
    process.start()
    assert found.poll(60) and found.recv() == "ready"
    peak: list[int] = []
    try:
        yield peak
    finally:
        stop.set()
        assert found.poll(60)
        peak.append(found.recv())
        process.join()


def _peak(pid: int, stop: Any, found: Any) -> None:
    parent, peak = psutil.Process(pid), 0
    found.send("ready")
    while not stop.wait(0.1):
        in_all = 0
        for each in (parent, *parent.children(recursive=True)):
            try:
                in_all += each.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # it is about to end
                continue
        peak = max(peak, in_all)
    found.send(peak)


def film(path: Path, size: int) -> Path:
    """A real film that has so many bytes: the rest of it are zeros, in a box that players skip."""
    sample = make_sample(path.with_name("sample.mp4"), seconds=4).read_bytes()
    left = size - len(sample)
    path.write_bytes(sample + (1).to_bytes(4, "big") + b"free" + left.to_bytes(8, "big"))
    os.truncate(path, size)
    return path


def seconds_of_upload(url: str, key: str, path: Path, line: float) -> float:
    """Seconds in which a file is uploaded in parts by a line of so many bytes a second."""
    with Client(url, key) as client:
        began = time.monotonic()

        def paced(sent: int) -> None:
            time.sleep(max(0.0, began + sent / line - time.monotonic()))

        uploaded = client.upload(path, progressed=paced)
        took = time.monotonic() - began
        client.delete_upload(uploaded.id)
    return took


def _uploads(url: str, key: str, path: Path, number: int, found: Any) -> None:
    lines = (math.inf, LINE)
    found.send([[seconds_of_upload(url, key, path, line) for _ in range(number)] for line in lines])


def uploads(url: str, key: str, path: Path, number: int) -> list[list[float]]:
    """The same so many times on this machine, then by `LINE`, by a process of its own."""
    context = get_context("spawn")
    found, other = context.Pipe(duplex=False)
    process = context.Process(target=_uploads, args=(url, key, path, number, other))
    process.start()
    took: list[list[float]] = found.recv()
    process.join()
    return took


def measure_watching(server: WebServer, folder: Path, *, quick: bool) -> dict[str, Any]:
    """Have many watch; what came to them, and what it cost."""
    path, port = film(folder / "beside.mp4", BESIDE_BYTES), urlsplit(server.url).port or 0
    (uploader,) = watched(server, 1)
    alone, alone_by_line = uploads(server.url, uploader.key, path, UPLOADS)
    jobs, each = watched(server, QUICK_JOBS if quick else JOBS), QUICK_CLIENTS if quick else CLIENTS
    context = get_context("spawn")
    go, stop = context.Event(), context.Event()
    seen, seen_by = context.Pipe(duplex=False)
    sent, sent_by = context.Pipe(duplex=False)
    workers = context.Process(target=work, args=(port, server.data_dir, jobs, go, stop, sent_by))
    workers.start()
    before = worker_memory(server)
    clients = context.Process(target=watch, args=(port, jobs, each, stop, go, seen_by))
    clients.start()
    assert go.wait(120), "not all WebSockets have opened"
    idle = worker_memory(server)
    processor = psutil.Process(server.process.child.pid).children()[0]
    began, used = time.monotonic(), sum(processor.cpu_times()[:2])
    time.sleep(QUICK_SECONDS if quick else SECONDS)
    busy, took_s = worker_memory(server), time.monotonic() - began
    used = sum(processor.cpu_times()[:2]) - used
    beside, beside_by_line = uploads(server.url, uploader.key, path, UPLOADS)
    stop.set()
    (got, opening_s), (events, calls) = seen.recv(), sent.recv()
    clients.join()
    workers.join()
    number = len(jobs) * each
    cuts = statistics.quantiles(got.took, n=1_000)
    calls_ms, naps_ms = (statistics.quantiles(each, n=100)[98] * 1000 for each in (calls, got.late))
    return {
        "clients": number,
        "jobs": len(jobs),
        "events_sent": events,
        "events_received": len(got.took),
        "received_of_wanted": round(len(got.took) / (events * each), 4),
        "other_messages": got.others,
        "closed_early": got.closed,
        "opening_s": round(opening_s, 2),
        "event_p50_ms": round(cuts[499] * 1000, 1),
        "event_p99_ms": round(cuts[989] * 1000, 1),
        "event_max_ms": round(max(got.took) * 1000, 1),
        "webhook_p99_ms": round(calls_ms, 1),
        "machine_p99_ms": round(naps_ms, 1),
        "client_kb": round((idle - before) / number / 1000, 1),
        "client_busy_kb": round((busy - before) / number / 1000, 1),
        "processor": round(used / took_s, 2),
        "upload_alone_s": [round(each, 2) for each in alone],
        "upload_beside_s": [round(each, 2) for each in beside],
        "beside_ratio": round(statistics.median(beside) / statistics.median(alone), 2),
        "line_alone_s": [round(each, 2) for each in alone_by_line],
        "line_beside_s": [round(each, 2) for each in beside_by_line],
        "line_ratio": round(
            statistics.median(beside_by_line) / statistics.median(alone_by_line), 2
        ),
    }


def measure_upload(server: WebServer, folder: Path, *, quick: bool) -> dict[str, Any]:
    """Send a very large film; the memory of the server meanwhile."""
    size, (job,) = QUICK_LARGE_BYTES if quick else LARGE_BYTES, watched(server, 1)
    path = film(folder / "large.mp4", size)
    with most_memory(server) as peak, Client(server.url, job.key) as client:
        before = sum(each.memory_full_info().pss for each in processes(server))
        began = time.monotonic()
        uploaded = client.upload(path)
        took = time.monotonic() - began
        stored = max(server.stored(), key=lambda each: each.stat().st_size)
        same = _digest(stored) == _digest(path)
        client.delete_upload(uploaded.id)
    return {
        "large_bytes": size,
        "large_s": round(took, 1),
        "large_same": same,
        "large_before_mb": round(before / 1e6, 1),
        "large_peak_mb": round(peak[0] / 1e6, 1),
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def measure_overview(server: WebServer, folder: Path) -> dict[str, Any]:
    """Upload a film of two hours; how long its first small pictures and its sound take."""
    (job,), path = watched(server, 1), folder / "film.mp4"
    sample = make_sample(folder / "looped.mp4", seconds=20)
    looped = [ffmpeg_path(), "-v", "error", "-stream_loop", str(FILM_S // 20 - 1)]
    subprocess.run([*looped, "-i", str(sample), "-c", "copy", "-y", str(path)], check=True)
    with Client(server.url, job.key) as client:
        upload = client.upload(path)
        began, first = time.monotonic(), dict[str, float]()
        url = f"/api/uploads/{upload.id}/overview"
        client.call("POST", url)

        def there() -> bool:
            told = client.call("GET", url)
            for name in ("sheets", "peaks"):
                if told[name]:
                    first.setdefault(name, time.monotonic() - began)
            return len(first) == 2

        wait_for(there, 300, "there are pictures and sound")
        client.delete_upload(upload.id)
    return {
        "film_mb": round(path.stat().st_size / 1e6, 1),
        "pictures_s": round(first["sheets"], 2),
        "sound_s": round(first["peaks"], 2),
    }


def judge(found: dict[str, Any]) -> list[Target]:
    """Hold what was measured to what is wanted."""
    targets = []
    if "event_p99_ms" in found:
        targets += [
            most(
                f"event to {found['clients']} clients, p99, ms", found["event_p99_ms"], EVENT_P99_MS
            ),
            most("clients that were closed", found["closed_early"], 0),
            most("upload beside, times alone", found["beside_ratio"], BESIDE_RATIO),
            most("by a line of 400 Mbit/s", found["line_ratio"], BESIDE_RATIO),
        ]
    if "large_peak_mb" in found:
        name = f"memory during {found['large_bytes'] / 1e9:g} GB, MB"
        targets.append(most(name, found["large_peak_mb"], LARGE_MB))
        targets.append(most("files that came damaged", int(not found["large_same"]), 0))
    if "pictures_s" in found:
        targets.append(most("first pictures of two hours, s", found["pictures_s"], FIRST_S))
        targets.append(most("first sound of two hours, s", found["sound_s"], FIRST_S))
    return targets


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("watch", "upload", "overview"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as name:
        for what in ("watch", "upload", "overview"):
            if args.only not in (None, what):
                continue
            folder = Path(name) / what
            folder.mkdir()
            # By `env`, since what tests import beforehand is no server's memory.
            with web_server(folder, under=("env",), CUTMV_SIGN_IN="always") as server:
                if what == "watch":
                    found |= measure_watching(server, folder, quick=args.quick)
                elif what == "upload":
                    found |= measure_upload(server, folder, quick=args.quick)
                else:
                    found |= measure_overview(server, folder)
    targets = judge(found)
    print(json.dumps(found))
    if not args.json:
        print(table(targets))
    sys.exit(0 if all(each.met for each in targets) else 1)


if __name__ == "__main__":
    main()
