"""The engine as a process: a request on standard input, progress and a report on standard output.

`engine_start` runs it. Each line that it prints is a JSON object with one key:
"progress", "found", "report" or "error".
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from typing import Any

import av

from cutmv.media.engine import films
from cutmv.media.engine.codecs import Uncopyable
from cutmv.media.engine.feed import ProgramFailed
from cutmv.media.engine.joining import Unjoinable
from cutmv.media.engine.look import look
from cutmv.media.engine.protocol import Look, Request
from cutmv.media.engine.source.file import SourceError, Unopened
from cutmv.media.engine.source.reader import Total

#: Seconds between two lines of progress.
EVERY_S = 0.2


def main() -> None:
    """Do what the request asks; exit with 0 whenever the last line is an answer or an error."""
    # Messages go straight to standard error. By way of Python a decoder's thread would wait for the
    # interpreter's lock, which the thread that ends the decoder holds.
    av.logging.set_libav_level(av.logging.ERROR)
    av.logging.restore_default_callback()
    asked = json.load(sys.stdin)
    started, told = time.monotonic(), 0.0

    def progressed(pictures: int, of: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= EVERY_S:
            told, seconds = now, round(now - started, 3)
            _tell("progress", {"pictures": pictures, "of": of, "seconds": seconds})

    try:
        if "look" in asked:
            _tell("found", look(Look(**asked["look"])))
        elif "analyse" in asked:
            # It needs packages that nothing else does.
            from cutmv.media.engine.analysis.request import Analyse
            from cutmv.media.engine.analysis.run import analyse

            analyse(Analyse.from_json(asked["analyse"]), progressed, _tell)
        else:
            report = films.make(Request.from_json(asked["cut"]), progressed)
            _tell("report", replace(report, read_bytes=Total.bytes).to_json())
    except SourceError as error:
        _tell("error", {"kind": "source", "message": str(error)})
    except Unjoinable as error:
        _tell("error", {"kind": "unjoinable", "message": str(error)})
    except Uncopyable as error:
        _tell("error", {"kind": "uncopyable", "message": str(error)})
    except ProgramFailed as error:
        _tell("error", {"kind": "program", "message": str(error)})
    except Unopened as error:
        _tell("error", {"kind": "libraries", "message": str(error)})
    except (av.FFmpegError, OSError) as error:
        _tell("error", {"kind": "libraries", "message": f"{error.strerror}"})


def _tell(what: str, value: dict[str, Any]) -> None:
    print(json.dumps({what: value}), flush=True)  # noqa: T201 - the protocol
