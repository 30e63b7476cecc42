"""The engine as a process: a request on standard input, progress and a report on standard output.

`engine_start` runs it. Each line that it prints is a JSON object with one key:
"progress", "made", "failed", or a part of what was found, and at the end "found" or "error".
Where a source could not be read, nothing is told to be made or found: it was "lost".
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
import traceback
from dataclasses import asdict
from functools import partial
from typing import Any

import av

from cutmv.media.engine.look import look
from cutmv.media.engine.outputs import films
from cutmv.media.engine.outputs.results import FAILURES, failed
from cutmv.media.engine.protocol import Failed, Look, Made, Request
from cutmv.media.engine.source.reader import Total

#: Seconds between two lines of progress.
EVERY_S = 0.2
#: Seconds at most that a thread keeps the interpreter while another waits for it. Those that decode
#: need it often and shortly.
SWITCH_S = 0.0005


def main() -> None:
    """Do what the request asks; exit with 0 whenever the last line is an answer or an error."""
    # Messages go straight to standard error. By way of Python a decoder's thread would wait for the
    # interpreter's lock, which the thread that ends the decoder holds.
    av.logging.set_libav_level(av.logging.ERROR)
    av.logging.restore_default_callback()
    sys.setswitchinterval(SWITCH_S)
    asked, pace = json.load(sys.stdin), Pace()
    try:
        if "look" in asked:
            _tell("found", look(Look(**asked["look"])))
        elif "analyse" in asked:
            # It needs packages that nothing else does.
            from cutmv.media.engine.analysis.request import Analyse
            from cutmv.media.engine.analysis.run import analyse

            analyse(Analyse.from_json(asked["analyse"]), partial(pace.tell, 0), _tell)
        elif "overview" in asked:
            from cutmv.media.engine.overview.request import OverviewRequest
            from cutmv.media.engine.overview.run import overview

            overview(OverviewRequest.from_json(asked["overview"]), partial(pace.tell, 0), _tell)
            _tell("found", {})
        elif "montage" in asked:
            from cutmv.media.engine.outputs.montage.film import make
            from cutmv.media.engine.outputs.montage.request import Montage

            _tell("found", make(Montage.from_json(asked["montage"]), partial(pace.tell, 0)))
        else:
            request = Request.from_json(asked["cut"])
            places = {each.path: place for place, each in enumerate(request.outputs)}
            films.make(request, lambda each, *far: pace.tell(places[each.path], *far), _tell_end)
            _tell("found", {})
    except FAILURES as error:
        _tell_error(failed("", error))
    except MemoryError:
        _tell_error(Failed("", "libraries", os.strerror(errno.ENOMEM)))
    except Exception as error:
        traceback.print_exc()
        told = f"the file is damaged in a way that nobody has met ({type(error).__name__})."
        _tell_error(Failed("", "source", told))


class Pace:
    """Tells the progress of each output of a request, not too often."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._told: dict[int, float] = {}

    def tell(self, output: int, pictures: int, of: int) -> None:
        """Tell that so many pictures of an output, by its place, are made, and of how many."""
        now = time.monotonic()
        if now - self._told.get(output, 0.0) >= EVERY_S:
            self._told[output] = now
            seconds = round(now - self._started, 3)
            said = {"output": output, "pictures": pictures, "of": of, "seconds": seconds}
            _tell("progress", said)


def _tell_end(output: Made | Failed) -> None:
    if Total.failure is not None:
        output = Failed(output.path, "lost", Total.failure)
    _tell("made" if isinstance(output, Made) else "failed", asdict(output))


def _tell_error(why: Failed) -> None:
    _tell("error", {"kind": why.kind, "message": why.message})


def _tell(what: str, value: dict[str, Any]) -> None:
    if Total.failure is not None and what in ("found", "error"):
        what, value = "error", {"kind": "lost", "message": Total.failure}
    print(json.dumps({what: value}), flush=True)  # noqa: T201 - the protocol
