"""How much sooner a long encoding is done by two workers than by one, each pinned to a core."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from brokers import child, free_port, redis, wait_for
from targets import Target

from cutmv.jobs import Costs, JobStore
from cutmv.media import Work

#: The cores of the two workers, and how many times as fast they have to be.
CORES, LEAST = (0, 1), 1.7
#: Seconds between two looks at the job: each takes the server 2 ms of a core that a worker has.
PAUSE_S = 0.5


def measure(source: Path, folder: Path, clip: str, multiple: float | None) -> dict[str, float]:
    """Return the seconds that one worker takes for a clip in another shape, and two, shared.

    With a `multiple` the workers are told to be so slow, which has a short clip shared, too.
    """
    names = {1: "shared render, one worker", 2: "shared render, two workers"}
    folders = {count: folder / f"by-{count}" for count in names}
    return {names[count]: _run(source, folders[count], clip, count, multiple) for count in names}


def judge(seconds: dict[str, float]) -> Target:
    """Hold the figures to the target."""
    one, two = seconds.values()
    what = f"a shared render: {one:.1f} s by one worker, {two:.1f} s by two, times as fast"
    return Target(what, f"{one / two:.2f}", f"≥ {LEAST}", one / two >= LEAST)


def _run(source: Path, folder: Path, clip: str, workers: int, multiple: float | None) -> float:
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(redis(0, folder))
        env = os.environ | {"CUTMV_DATA_DIR": str(folder / "data"), "REDIS_URL": broker.url}
        log = stack.enter_context((folder / "log").open("wb"))
        port = free_port()
        said: dict[str, Any] = {"env": env, "stdout": log, "stderr": log}
        web = [sys.executable, "-m", "cutmv", "web", "--port", str(port)]
        stack.enter_context(child(*web, **said))
        for number, core in enumerate(CORES[:workers]):
            argv = ["taskset", "-c", str(core), sys.executable, "-m", "celery", "-A", "cutmv"]
            argv += ["worker", "-l", "INFO", "-c", "1", "-n", f"w{number}@%h"]
            stack.enter_context(child(*argv, **said))
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: (folder / "log").read_bytes().count(b" ready.") == workers, "workers")
        wait_for(lambda: _answers(url), "the web server")
        name = urllib.parse.urlencode({"filename": source.name})
        upload = _post(f"{url}/api/uploads?{name}", source.read_bytes(), "video/mp4")
        if multiple:
            _tell_cost(folder / "data" / "cutmv.db", multiple)
        wanted = {"upload_id": upload["id"], "clips": [clip], "aspects": ["9:16"]}
        began = time.monotonic()
        job = _post(f"{url}/api/jobs", json.dumps(wanted).encode(), "application/json")
        done = f"{url}/api/jobs/{job['id']}"
        wait_for(lambda: _get(done)["state"] in ("done", "failed"), "the job", PAUSE_S)
        took_s = time.monotonic() - began
        if _get(done)["state"] != "done":
            raise SystemExit(f"the job failed: {_get(done)['error']}")
        return took_s


def _tell_cost(database: Path, multiple: float) -> None:
    store = JobStore(f"sqlite:///{database}")
    for _ in range(9):
        Costs(store).note(Work("h264", 1.0), multiple)
    store.close()


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(_get(f"{url}/api/queue-status"))
    return False


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url) as answer:
        return dict(json.load(answer))


def _post(url: str, body: bytes, kind: str) -> dict[str, Any]:
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method="POST")
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer))
