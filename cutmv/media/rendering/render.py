"""Render the outputs of a clip: have the engine make them by their plans."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cutmv.media.engine.protocol import Like, Made, Part, Request
from cutmv.media.engine_request import tracks_of
from cutmv.media.errors import CUT_FAILED, MediaError, MediaUnavailable
from cutmv.media.plan import RenderPlan
from cutmv.media.probe import without_bars
from cutmv.media.remote.cache import Cache
from cutmv.media.rendering.making import Making
from cutmv.media.rendering.order import Order, Rendered, Result
from cutmv.media.rendering.progress import Progress
from cutmv.media.running.binaries import ffmpeg_path
from cutmv.media.running.child import allowance
from cutmv.media.running.engine_process import run_engine
from cutmv.media.running.files import folder_beside
from cutmv.media.source import Readable, readable


def render(
    source: str | Path,
    plan: RenderPlan,
    destination: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    cancelled: Callable[[], bool] | None = None,
    timeout_s: float,
    threads: int | None = None,
    overwrite: bool = True,
    cache: Cache | None = None,
    parts: Sequence[Part] = (),
    like: Like | None = None,
) -> Rendered:
    """Make one output at `destination`, which appears whole or not at all.

    `source` is a path or an HTTP URL, whose bytes `cache` keeps. `threads` bounds FFmpeg's
    (default: one a core). Without `overwrite` no file is replaced, nor one that appears meanwhile.
    The picture is joined of `parts` where there are some, or encoded, perhaps `like` another.
    Raises MediaError when the source or the result is wrong, Unjoinable when the parts are not this
    plan's, RenderTimeout after `timeout_s` seconds, MediaUnavailable when the network failed,
    Cancelled within a second of `cancelled()`.
    """
    order = Order(plan, destination, on_progress, tuple(parts), like=like)
    [result] = render_together(
        source,
        [order],
        cache=cache,
        cancelled=cancelled,
        timeout_s=timeout_s,
        threads=threads,
        overwrite=overwrite,
    )
    if isinstance(result, Exception):
        raise result
    return result


def render_together(
    source: str | Path,
    orders: Sequence[Order],
    *,
    cache: Cache | None = None,
    cancelled: Callable[[], bool] | None = None,
    timeout_s: float,
    threads: int | None = None,
    overwrite: bool = True,
) -> list[Result]:
    """Make several outputs of one clip by one decode; one that fails voids no other.

    Each appears as soon as it is finished. What becomes of each is returned in the same order; all
    else is as in `render`, and what it raises is of all that are not there yet.
    """
    with ExitStack() as stack:
        every = [Making(each, folder_beside(each.destination, stack)) for each in orders]
        run = _Run(every, cancelled, timeout_s, threads, overwrite=overwrite)
        try:
            with readable(source, cache) as opened:
                run.make(opened)
                for each in every:
                    if isinstance(each.result, Exception):
                        raise each.result  # the source may be what failed
        except (MediaError, MediaUnavailable) as error:
            if not any(each.result is error for each in every):
                if not any(each.there for each in every):
                    raise
                for each in every:
                    if not (each.there or isinstance(each.result, Exception)):
                        each.result = error
        run.finish(opened)
        return [each.result or MediaError(f"{CUT_FAILED}.") for each in every]


class _Run:
    """Has the engine make outputs until each is made, or has failed."""

    def __init__(
        self,
        every: Sequence[Making],
        cancelled: Callable[[], bool] | None,
        timeout_s: float,
        threads: int | None,
        *,
        overwrite: bool,
    ) -> None:
        self._every, self._cancelled, self._threads = every, cancelled, threads
        self._overwrite = overwrite
        #: Until when outputs have accounted for the time.
        self._counted = time.monotonic()
        self._deadline = self._counted + timeout_s * allowance()

    def make(self, source: Readable) -> None:
        """Make them. All but the last appear as soon as they are made."""
        for each in self._every:
            each.plan = without_bars(source.name, each.plan, self._cancelled)
        while making := [each for each in self._every if each.wanted()]:
            left = {str(each.path): each for each in making}

            def progressed(told: dict[str, Any], making: Sequence[Making] = making) -> None:
                making[told["output"]].reader.take(told)

            def made(told: Made, left: dict[str, Making] = left) -> None:
                self._counted = time.monotonic()
                each = left.pop(told.path)
                each.take(told)
                if any(other.result is None for other in self._every):
                    each.appear(source, overwrite=self._overwrite)

            failed = run_engine(
                _request(source.name, making, self._threads, self._counted),
                on_progress=progressed,
                on_made=made,
                cancelled=self._cancelled,
                timeout_s=max(0.0, self._deadline - time.monotonic()) / allowance(),
                by_hardware=any(each.hardware.encoder for each in making),
            )
            for path, each in left.items():
                each.fail(failed.get(path) or MediaError(f"{CUT_FAILED}."))

    def finish(self, source: Readable) -> None:
        """Have the last appear, whose engine's end was waited for."""
        made = [each for each in self._every if isinstance(each.result, Rendered)]
        last = [each for each in made if not each.there]
        for each in last:
            other_s = (time.monotonic() - self._counted) / len(last)
            each.appear(source, overwrite=self._overwrite, other_s=other_s)


def _request(source: str, making: Sequence[Making], threads: int | None, since: float) -> Request:
    plan = making[0].plan
    return Request(
        source=source,
        demuxer=plan.info.container,
        start=plan.start,
        end=max(each.plan.end for each in making),
        video=plan.video.index,
        tracks=tracks_of(plan),
        program=ffmpeg_path(),
        outputs=tuple(each.output for each in making),
        threads=threads,
        since=since,
    )
