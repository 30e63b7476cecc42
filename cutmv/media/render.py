"""Render the outputs of a clip: have the engine make them by their plans."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from cutmv.media.engine.protocol import Like, Made, Output, Part, Request
from cutmv.media.engine_request import output_of, reason_of, tracks_of
from cutmv.media.errors import CUT_FAILED, MediaError, MediaUnavailable
from cutmv.media.plan import RenderPlan
from cutmv.media.plan import plan as plan_of
from cutmv.media.probe import without_bars
from cutmv.media.products.animations import smaller
from cutmv.media.products.containers import container_named
from cutmv.media.products.memory import held_bytes
from cutmv.media.products.quality import quality_of
from cutmv.media.products.spec import SOUNDS
from cutmv.media.progress import Progress, ProgressReader
from cutmv.media.remote.cache import Cache
from cutmv.media.running.binaries import ffmpeg_path
from cutmv.media.running.engine_process import run_engine
from cutmv.media.running.files import appear, folder_beside
from cutmv.media.running.hardware import ByHardware
from cutmv.media.sharing.costs import weight_of
from cutmv.media.source import Readable, readable
from cutmv.media.source_warnings import of_output


@dataclass(frozen=True)
class Rendered:
    """A finished output: seconds, frames, bytes, pixels.

    `copied` frames are the source's own, bit for bit; `reason` says why none are where all could
    have been. Of a film that is encoded whole `encoder` is FFmpeg's name of what encoded it, and
    `quality` says how finely, and why. `sound` is "copied" or "encoded", none where there is none.
    `seconds` are those of each stage (see `engine.protocol.Made`), and of what outputs that were
    made together shared a part: time is divided among those that were in the making then, by what
    each is expected to take, so that all add up to what was spent. `read_bytes` are those of the
    source that came from the storage, by so many `requests`; of a file on this machine, for which
    there are none, those that were read: until it was finished, and for those beside it, too.
    `warnings` are sentences about the source and the sound.
    """

    duration_s: float
    frames: int
    size_bytes: int
    width: int
    height: int
    copied: int = 0
    reason: str | None = None
    encoder: str | None = None
    quality: str | None = None
    sound: str | None = None
    read_bytes: int | None = None
    requests: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """This as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; what a later version has told beside it is left out."""
        known = {each.name: plain[each.name] for each in fields(cls) if each.name in plain}
        return cls(**{**known, "warnings": tuple(known.get("warnings", ()))})


@dataclass(frozen=True)
class Order:
    """One output to make at `destination`, and who is told of its progress, and when it is there.

    The picture is joined of `parts` where there are some, or encoded, perhaps `like` another.
    """

    plan: RenderPlan
    destination: Path
    on_progress: Callable[[Progress], None] = lambda _progress: None
    parts: tuple[Part, ...] = ()
    on_made: Callable[[Rendered], None] = lambda _rendered: None
    like: Like | None = None


#: An output that is made, or why it could not be.
Result = Rendered | MediaError | MediaUnavailable


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
        every = [_Making(each, folder_beside(each.destination, stack)) for each in orders]
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


class _Making:
    """An output in the making, in a folder of its own; without a result it is to be made (anew)."""

    def __init__(self, order: Order, folder: Path) -> None:
        self.plan, self._order = order.plan, order
        self.path = folder / f"made{order.destination.suffix}"
        self.output = Output(str(self.path), "", ())
        self.result: Result | None = None
        self.hardware = ByHardware(self.plan, self.path, in_parts=bool(order.parts))
        #: Whether it has appeared.
        self.there = False
        self.reader = ProgressReader(float(order.plan.length_s), order.on_progress)
        self._spent: dict[str, float] = {}
        self._read = 0

    def wanted(self) -> bool:
        """Whether the engine is to make it; what is asked for is its `output` then."""
        if self.result is not None:
            return False
        plan = self.plan
        try:
            output = output_of(plan, self.path, self.hardware.encoder, self._order.like)
        except MediaError as error:
            self.result = error
            return False
        self.output = replace(
            output,
            parts=self._order.parts,
            end=plan.end,
            holds=held_bytes(
                plan.spec, plan.width, plan.height, plan.pictures, os.cpu_count() or 1
            ),
            weight=weight_of(plan),
        )
        return True

    def take(self, made: Made) -> None:
        """Take what is made of it, unless it is too large: then it is to be made anew, smaller."""
        for name, each in made.seconds.items():
            self._spent[name] = self._spent.get(name, 0.0) + each
        self._read += made.read_bytes
        most = self.plan.spec.max_bytes
        try:
            rendered = _rendered(self.plan, made, self.path, self.hardware)
            if most is None or rendered.size_bytes <= most:
                self.result = rendered
            else:
                self.plan = _smaller(self.plan, rendered.size_bytes, most)
        except MediaError as error:
            self.fail(error)

    def fail(self, error: MediaError | MediaUnavailable) -> None:
        """Note why it failed, unless it is to be made anew, by software."""
        self.result = None if self.hardware.failed(error) else error

    def appear(self, source: Readable, *, overwrite: bool, other_s: float = 0.0) -> None:
        """Have it appear, if it is made; the engine's end took `other_s` seconds of its time."""
        if not isinstance(self.result, Rendered):
            return
        self.reader.finish(self.result.frames)
        try:
            if overwrite:
                self.path.replace(self._order.destination)
            else:
                appear(self.path, self._order.destination)
        except MediaError as error:
            self.result = error
            return
        self._spent["other"] = self._spent.get("other", 0.0) + other_s
        self.result = replace(
            self.result,
            read_bytes=self._read if source.fetched is None else source.fetched,
            requests=source.requests,
            seconds={name: round(each, 3) for name, each in self._spent.items()},
        )
        self.there = True
        self._order.on_made(self.result)


class _Run:
    """Has the engine make outputs until each is made, or has failed."""

    def __init__(
        self,
        every: Sequence[_Making],
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
        self._deadline = self._counted + timeout_s

    def make(self, source: Readable) -> None:
        """Make them. All but the last appear as soon as they are made."""
        for each in self._every:
            each.plan = without_bars(source.name, each.plan, self._cancelled)
        while making := [each for each in self._every if each.wanted()]:
            left = {str(each.path): each for each in making}

            def progressed(told: dict[str, Any], making: Sequence[_Making] = making) -> None:
                making[told["output"]].reader.take(told)

            def made(told: Made, left: dict[str, _Making] = left) -> None:
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
                timeout_s=max(0.0, self._deadline - time.monotonic()),
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


def _smaller(plan: RenderPlan, size: int, most: int) -> RenderPlan:
    """The plan of a smaller animation than one of `size` bytes. Raises MediaError if none is."""
    found = smaller(plan.animation, most / size) if plan.animation else None
    if found is None:
        raise MediaError(f"{CUT_FAILED}: the smallest is {size} bytes, not {most}: cut less.")
    return plan_of(plan.info, plan.clip, plan.spec, found)


def _request(source: str, making: Sequence[_Making], threads: int | None, since: float) -> Request:
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


def _rendered(plan: RenderPlan, made: Made, path: Path, hardware: ByHardware) -> Rendered:
    any_size = plan.spec.kind in SOUNDS or made.copied or plan.joined
    if not any_size and (made.width, made.height) != (plan.width, plan.height):
        raise MediaError(f"{CUT_FAILED}: the result is {made.width}×{made.height} pixels.")
    duration_s = 0.0 if plan.spec.kind == "still" else made.length_s
    container = container_named(path.suffix)
    told = None if made.copied else reason_of(plan, container)
    reason = made.reason or told
    whole = plan.spec.kind == "canvas" or (plan.spec.kind == "cutdown" and reason is not None)
    return Rendered(
        duration_s=duration_s,
        frames=made.pictures,
        size_bytes=path.stat().st_size,
        width=made.width,
        height=made.height,
        copied=made.copied,
        reason=reason,
        encoder=(hardware.encoder or container.encoder).name if whole else None,
        quality=quality_of(plan.info, plan.video, plan.spec).told if whole else None,
        sound=made.sound,
        warnings=(
            *of_output(plan, copied=made.copied > 0),
            *made.warnings,
            *([made.left_out] if made.left_out else []),
            *(hardware.warnings if whole else ()),
        ),
    )
