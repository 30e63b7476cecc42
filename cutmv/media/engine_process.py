"""Run the cut engine as a child in the sandbox: a request goes in, progress and a report come out."""

import json
import sys
from collections.abc import Callable
from typing import Any

from cutmv.media.child import Limits, run
from cutmv.media.engine.protocol import Report, Request
from cutmv.media.errors import CUT_FAILED, MediaError, explain

#: Bytes of memory (address space) that a cut may take: 8K pictures and their references fit.
MEMORY_BYTES = 12 * 2**30
#: Bytes of the largest output.
OUTPUT_BYTES = 20 * 10**9

_ENGINE = [sys.executable, "-I", "-m", "cutmv.media.engine"]


def run_engine(
    request: Request,
    *,
    on_progress: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool] | None,
    timeout_s: float,
) -> Report:
    """Do what a request asks. Raises as `render` does."""
    said: dict[str, Any] = {}

    def take(line: str) -> None:
        try:
            told = json.loads(line)
        except ValueError:
            return
        if isinstance(told, dict):
            said.update(told)
            if "progress" in told:
                on_progress(told["progress"])

    limits = Limits(MEMORY_BYTES, OUTPUT_BYTES, timeout_s)
    question = json.dumps(request.to_json()).encode()
    ended = run(_ENGINE, limits=limits, on_line=take, cancelled=cancelled, stdin=question)
    if "report" in said:
        return Report.from_json(said["report"])
    if "error" not in said:
        raise explain(CUT_FAILED, ended.code, ended.stderr, request.source)
    error = said["error"]
    if error["kind"] in ("source", "uncopyable"):
        raise MediaError(f"{CUT_FAILED}: {error['message']}")
    raise explain(CUT_FAILED, 1, error["message"], request.source)
