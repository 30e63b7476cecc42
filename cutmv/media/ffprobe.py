"""Run ffprobe on one file, as JSON or line by line."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from cutmv.media.binaries import ffprobe_path
from cutmv.media.child import Limits, run
from cutmv.media.errors import PROBE_FAILED, explain
from cutmv.media.source import input_args

#: Bytes of memory (address space) that ffprobe may take.
PROBE_MEMORY_BYTES = 4 * 2**30


def ask(
    source: str,
    demuxer: str,
    shown: Sequence[str],
    *,
    timeout_s: float,
    what: str = PROBE_FAILED,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """The JSON that ffprobe answers about `source`, a readable name, for `shown`, its options.

    Raises MediaError when that can't be read, MediaUnavailable when the network failed,
    RenderTimeout after `timeout_s` seconds, and Cancelled.
    """
    lines: list[str] = []
    shown = ["-print_format", "json", *shown]
    ask_lines(
        source, demuxer, shown, lines.append, timeout_s=timeout_s, what=what, cancelled=cancelled
    )
    found: dict[str, Any] = json.loads("\n".join(lines))
    return found


def ask_lines(
    source: str,
    demuxer: str,
    shown: Sequence[str],
    on_line: Callable[[str], None],
    *,
    timeout_s: float,
    what: str = PROBE_FAILED,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Pass each line that ffprobe answers to `on_line`, so that a long answer needs no memory.

    Raises as `ask` does.
    """
    argv = [ffprobe_path(), "-v", "error", *shown, *input_args(source, demuxer)]
    limits = Limits(memory_bytes=PROBE_MEMORY_BYTES, output_bytes=0, time_s=timeout_s)
    ended = run(argv, limits=limits, on_line=on_line, cancelled=cancelled)
    if ended.code != 0:
        raise explain(what, ended.code, ended.stderr, source)
