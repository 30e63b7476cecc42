"""Damaged videos, each sent to a web server as people do: upload, job of all kinds, deletion."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.mutants import HANG_S, Report, numbered, refuse_many_lines
from tests.support.processes import wait_for
from tests.support.watched import escapes, watch
from tests.support.web_server import WebServer, web_server

#: Answers that say in one line what is wrong with a file, or with a clip of it.
REFUSED = (400, 413, 415, 422)


def send_all(
    folder: Path,
    sources: list[Path],
    seed: int,
    numbers: Iterable[int],
    on: Callable[[], bool] = lambda: True,
) -> Report:
    """Send the mutants of these numbers to a watched server, as long as `on` says so."""
    report, data = Report(), [path.read_bytes() for path in sources]
    own, logs = folder / "own", folder / "logs"
    (own / "tmp").mkdir(parents=True)
    env = {"TMPDIR": str(own / "tmp"), "HOME": str(own), "PYTHONDONTWRITEBYTECODE": "1"}
    with web_server(own, under=watch(logs), **env) as server:
        worker = psutil.Process(server.process.child.pid).children()[0]
        with httpx.Client(base_url=server.url, timeout=HANG_S) as client:
            for count, number in enumerate(numbers):
                if count % 10 == 0:
                    report.memory_mb.append(worker.memory_info().rss / 1e6)
                if not on():
                    break
                begun = time.monotonic()
                try:
                    report.ends[_send(client, numbered(data, seed, number))] += 1
                    wait_for(lambda: not worker.children(recursive=True), what="no child is left")
                    wait_for(lambda: not _left(server, own), what="no file is left")
                except Exception as error:
                    left = _left(server, own)
                    report.wrong.append(f"{number}: {type(error).__name__}: {error} {left or ''}")
                if time.monotonic() - begun > HANG_S:
                    report.wrong.append(f"{number}: took {time.monotonic() - begun:.0f} s")
        if "Traceback" in server.process.log:
            report.wrong.append(server.process.log)
    report.wrong += escapes(logs, own)
    return report


def _left(server: WebServer, own: Path) -> list[Path]:
    """Files of uploads, jobs and runs, in any folder of the server's."""
    folders = (server.data_dir / "work", server.data_dir / "cache", own / "tmp")
    return [*server.stored(), *(each for folder in folders for each in folder.glob("*"))]


def _send(client: httpx.Client, mutant: bytes) -> str:
    """Do with a file what people do; return how far that came. Raises what no file may cause."""
    sent = client.post("/api/uploads", params={"filename": "a.mp4"}, content=mutant)
    if sent.status_code != 201:
        _refused(sent)
        return "refused"
    upload = sent.json()
    try:
        end = min(upload["duration_s"], 0.5)
        wanted = {"upload_id": upload["id"], "clips": [f"0-{end:.3f}"], "gif": True, "still": True}
        asked = client.post("/api/jobs", json=wanted)
        if asked.status_code != 201:
            _refused(asked)
            return "probed"
        job = wait_for(lambda: _ended(client, asked.json()["id"]), HANG_S, "the job ends")
        failed = [step for step in job["steps"] if step["state"] != "done"]
        for step in failed:
            refuse_many_lines(step["error"])
        for step in job["steps"]:
            if step["state"] == "done" and not client.get(step["output"]["url"]).content:
                raise AssertionError(f"an output is empty: {step}")
    finally:
        deleted = client.delete(f"/api/uploads/{upload['id']}")
    if deleted.status_code != 204:
        raise AssertionError(f"it is not deleted: {deleted.status_code} {deleted.text}")
    return "made in part" if failed else "made"


def _refused(answer: httpx.Response) -> None:
    if answer.status_code not in REFUSED:
        raise AssertionError(f"{answer.request.url}: {answer.status_code} {answer.text}")
    refuse_many_lines(answer.json()["detail"])


def _ended(client: httpx.Client, job_id: str) -> dict[str, Any] | None:
    job = client.get(f"/api/jobs/{job_id}").json()
    return job if job["state"] in ("done", "failed") else None
