"""OpenTelemetry from a request to FFmpeg, as a collector gets it from real processes; and logs."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.fork_server import run_python
from tests.support.media import make_sample
from tests.support.processes import clean_env, wait_for
from tests.support.stack import Stack


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A collector by OTLP over HTTP: its address, and the spans that came."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            told = ExportTraceServiceRequest.FromString(body)
            for resource in told.resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    server.server_close()


def cut_one(stack: Stack, folder: Path, **wanted: Any) -> str:
    """Have one output made; returns the job's id."""
    upload = stack.upload(make_sample(folder / "v.mp4", seconds=1.0, size=(160, 90)))
    job = stack.submit(upload_id=upload["id"], clips=["0-0.5"], **wanted)
    assert stack.ended(job["id"])["state"] == "done", stack.logs
    return str(job["id"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    [
        "eager",
        pytest.param("redis", marks=pytest.mark.slow),
        pytest.param("cloudflare", marks=pytest.mark.slow),
    ],
)
def test_a_click_is_followed_to_ffmpeg(
    mode: str, make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack(mode)
    with collector() as (url, spans):
        stack.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        if mode != "eager":
            stack.start_worker()
        stack.start_web()
        job_id = cut_one(stack, tmp_path, aspects=["9:16"])
        way = ["POST /api/jobs", "publish", "cutmv.cut", "render"]
        way = [name for name in way if mode != "eager" or name != "publish"]

        def named(name: str) -> list[Any]:
            return [each for each in spans if each.name == name]

        wait_for(lambda: all(map(named, way)), 60.0, f"{way}: {[s.name for s in spans]}")

    [click] = named("POST /api/jobs")
    for above, below in pairwise(way):
        [parent], [child] = named(above), named(below)
        assert child.trace_id == click.trace_id
        assert child.parent_span_id == parent.span_id
    about = {each.key: each.value for each in click.attributes}
    assert about["http.route"].string_value == "/api/jobs"
    assert about["http.response.status_code"].int_value == 201
    [render] = named("render")
    assert any(each.key.startswith("cutmv.ffmpeg.") for each in render.attributes)
    [task] = named("cutmv.cut")
    if mode != "eager":
        told = {each.key: each.value.string_value for each in task.attributes}
        assert told["cutmv.job_id"] == job_id
    assert not [each for each in spans if "healthz" in each.name]


def test_who_traces_nothing_imports_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, cutmv.web.factory, cutmv.worker\n"
        "HEAVY = ('opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "from cutmv.tracing import carried, span\n"
        "with span('a', {}) as made:\n"
        "    assert made is None and carried() == {}\n"
        "print([name for name in sys.modules if name.startswith(HEAVY)])"
    )
    env = clean_env(CUTMV_MODE="eager", CUTMV_DATA_DIR=str(tmp_path))
    env = {key: value for key, value in env.items() if not key.startswith("OTEL_")}
    assert run_python("-c", code, env=env, check=True).stdout.strip() == "[]"


def test_logs_are_json_where_that_is_asked_for(
    make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack("redis")
    stack.env |= {"CUTMV_LOG_FORMAT": "json"}
    worker = stack.start_worker()
    stack.start_web()

    job_id = cut_one(stack, tmp_path, aspects=[], still=True)

    assert stack.web
    web = [json.loads(line) for line in stack.web.log.splitlines()]
    events = [line["event"] for line in web if line.get("job_id") == job_id and "event" in line]
    assert events == ["attempt", "success"]
    [attempt] = [line for line in web if line.get("event") == "attempt"]
    assert attempt["message"] == f"Attempting to enqueue job {job_id} to Redis..."
    assert (attempt["level"], attempt["logger"]) == ("info", "cutmv.dispatch.dispatcher")
    lines = [line for line in worker.log.splitlines() if line.startswith("{")]
    told = [json.loads(line) for line in lines]
    [begun] = [line for line in told if line.get("job_id") == job_id]
    assert begun["task_id"] == begun["step_id"]
    assert "\n[2" not in worker.log, "that would be a line for people"
