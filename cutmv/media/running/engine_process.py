"""Run the engine as a child in the sandbox: a request goes in, progress and an answer come out."""

import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cutmv.media.engine.analysis.request import Analyse
from cutmv.media.engine.outputs.montage.request import Montage
from cutmv.media.engine.overview.request import OverviewRequest
from cutmv.media.engine.protocol import Look, Made, Request
from cutmv.media.engine.source.reader import descriptor_of
from cutmv.media.errors import (
    COPY_FAILED,
    CUT_FAILED,
    PROBE_FAILED,
    MediaError,
    MediaUnavailable,
    SourceUnavailable,
    Unjoinable,
    explain,
)
from cutmv.media.limits import OF_A_LOOK, FileLimits
from cutmv.media.running.binaries import refuse_script
from cutmv.media.running.child import Limits, run
from cutmv.media.sandbox.access import Access

#: Bytes of the largest output.
OUTPUT_BYTES = 20 * 10**9

log = logging.getLogger(__name__)

_ENGINE = [sys.executable, "-I", str(Path(__file__).with_name("engine_start.py"))]

Cancelling = Callable[[], bool] | None
#: What an engine may open that writes nothing: its sources alone.
SOURCES = Access()
#: What the libraries say of most damage.
DAMAGED = "Invalid data found when processing input"
#: What Python says of an error that nobody expected.
TRACEBACK = "Traceback (most recent call last)"
#: Who hears what the engine tells before its end, by the name of that.
Hearers = Mapping[str, Callable[[Any], None]]


def look_at(wanted: Look, *, cancelled: Cancelling, timeout_s: float) -> dict[str, Any]:
    """What the engine finds in a source. Raises as `probe` does."""
    limits = Limits(_memory_bytes() // OF_A_LOOK, 0, timeout_s)
    asked = {"look": asdict(wanted)}
    ask = _Asking([wanted.source], PROBE_FAILED)
    said = ask.answer(asked, limits, cancelled, {})
    found: dict[str, Any] = said["found"]
    return found


def run_engine(
    request: Request,
    *,
    on_progress: Callable[[dict[str, Any]], None],
    on_made: Callable[[Made], None],
    cancelled: Cancelling,
    timeout_s: float,
    by_hardware: bool = False,
) -> dict[str, MediaError | MediaUnavailable]:
    """Do what a request asks; return what failed of it, by its path. Raises as `render` does.

    `on_made` is called with each output as soon as it is finished.
    """
    refuse_script(request.program)
    limits = Limits(_memory_bytes(), OUTPUT_BYTES, timeout_s)
    asked = {"cut": request.to_json()}
    access = Access(
        reads=tuple(part.path for each in request.outputs for part in each.parts),
        writes=tuple({str(Path(each.path).parent) for each in request.outputs}),
        programs=(request.program,),
        graphics=by_hardware,
    )
    others = [each.like.source for each in request.outputs if each.like]
    ask = _Asking([request.source, *others], CUT_FAILED, access)
    failed: list[dict[str, str]] = []
    hearers: Hearers = {
        "progress": on_progress,
        "made": lambda made: on_made(Made.from_json(made)),
        "failed": failed.append,
    }
    ask.answer(asked, limits, cancelled, hearers)
    return {each["path"]: ask.why(each["kind"], each["message"]) for each in failed}


def analyse(
    wanted: Analyse,
    *,
    on_progress: Callable[[dict[str, Any]], None],
    cancelled: Cancelling,
    timeout_s: float,
) -> dict[str, Any]:
    """What the engine sees and hears in a source. Raises as `render` does."""
    limits = Limits(_memory_bytes(), 0, timeout_s)
    asked = {"analyse": wanted.to_json()}
    ask = _Asking([wanted.source], PROBE_FAILED)
    return ask.answer(asked, limits, cancelled, {"progress": on_progress})


def overview(
    wanted: OverviewRequest, hearers: Hearers, *, cancelled: Cancelling, timeout_s: float
) -> None:
    """Have what the engine tells of a source, as an overview, heard. Raises as `render` does."""
    limits = Limits(_memory_bytes(), 0, timeout_s)
    ask = _Asking([wanted.source], PROBE_FAILED)
    ask.answer({"overview": wanted.to_json()}, limits, cancelled, hearers)


def join(
    wanted: Montage,
    *,
    on_progress: Callable[[dict[str, Any]], None],
    cancelled: Cancelling,
    timeout_s: float,
) -> dict[str, Any]:
    """Write one film of many clips; return what was made. Raises as `render` does."""
    limits = Limits(_memory_bytes(), OUTPUT_BYTES, timeout_s)
    asked = {"montage": wanted.to_json()}
    pieces = tuple(each.path for each in wanted.pieces)
    access = Access(reads=pieces, writes=(str(Path(wanted.path).parent),))
    ask = _Asking([each.name for each in wanted.sources], CUT_FAILED, access)
    found: dict[str, Any] = ask.answer(asked, limits, cancelled, {"progress": on_progress})["found"]
    return found


def _memory_bytes() -> int:
    return FileLimits.of_environment().memory_bytes


class _Asking:
    """One question to the engine about sources, and what it says on standard error.

    It opens these, and what `access` names beside them.
    """

    def __init__(self, sources: Sequence[str], what: str, access: Access = SOURCES) -> None:
        self._source, self._what, self._stderr = sources[0], what, ""
        relays = {each: descriptor_of(each) for each in dict.fromkeys(sources)}
        self._inherited = [each for each in relays.values() if each is not None]
        files = tuple(name for name, descriptor in relays.items() if descriptor is None)
        self._access = replace(access, reads=(*access.reads, *files))

    def answer(
        self,
        asked: dict[str, Any],
        limits: Limits,
        cancelled: Cancelling,
        hearers: Hearers,
    ) -> dict[str, Any]:
        """What it says; what somebody hears at once is not kept."""
        said: dict[str, Any] = {}

        def take(line: str) -> None:
            try:
                told = json.loads(line)
            except ValueError:
                return
            for name, value in told.items() if isinstance(told, dict) else ():
                if name in hearers:
                    hearers[name](value)
                else:
                    said[name] = value

        question = json.dumps(asked).encode()
        ended = run(
            _ENGINE,
            limits=limits,
            access=self._access,
            on_line=take,
            cancelled=cancelled,
            stdin=question,
            inherited=self._inherited,
        )
        self._stderr = ended.stderr
        if TRACEBACK in ended.stderr:
            log.warning("the engine failed: %s", ended.stderr.strip().splitlines()[-1])
        if "found" in said:
            return said
        if "error" not in said:
            raise explain(self._what, ended.code, ended.stderr, self._source)
        raise self.why(**said["error"])

    def why(self, kind: str, message: str) -> MediaError | MediaUnavailable:
        """What a failure that the engine tells means for people."""
        if kind == "unjoinable":
            return Unjoinable(f"{self._what}: {message}.")
        if kind == "uncopyable":
            return MediaError(f"{COPY_FAILED}: {message}.")
        if kind == "lost":
            return SourceUnavailable(f"{self._what}: its disk fails ({message}).")
        if kind == "source":
            return MediaError(f"{self._what}: {message}")
        if self._what == PROBE_FAILED and not self._inherited and kind == "libraries":
            # Of a file that is here it is what they say of damage, too, which no retry mends.
            message = message.replace(os.strerror(errno.EIO), DAMAGED)
        said_before = self._stderr if kind == "libraries" else ""
        return explain(self._what, 1, f"{said_before}\n{message}", self._source)
