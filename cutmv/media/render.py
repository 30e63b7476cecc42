"""Render the outputs of a clip: have the engine make them by their plans."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from cutmv.media.engine.protocol import Made, Output, Part, Report, Request
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
from cutmv.media.source import Readable, readable
from cutmv.media.source_warnings import of_output


@dataclass(frozen=True)
class Rendered:
    """A finished output: seconds, frames, bytes, pixels.

    `copied` frames are the source's own, bit for bit; `reason` says why none are where all could
    have been. Of a film that is encoded whole `encoder` is FFmpeg's name of what encoded it, and
    `quality` says how finely, and why. `sound` is "copied" or "encoded", none where there is none.
    `seconds` are those of each stage (see `engine.protocol.Report`), and "other" those of starting
    and ending the engine; `read_bytes` are those of the source that came from the storage, by so
    many `requests`; of a file on this machine, for which there are none, those that were read. All
    of these are of the outputs that were made together. `warnings` are sentences about the source
    and the sound.
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
    """One output to make at `destination`, and who is told of its progress.

    The picture is joined of `parts` where there are some, and encoded where there are none.
    """

    plan: RenderPlan
    destination: Path
    on_progress: Callable[[Progress], None] = lambda _progress: None
    parts: tuple[Part, ...] = ()


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
) -> Rendered:
    """Make one output at `destination`, which appears whole or not at all.

    `source` is a path or an HTTP URL, whose bytes `cache` keeps. `threads` bounds FFmpeg's
    (default: one a core). Without `overwrite` no file is replaced, nor one that appears meanwhile.
    The picture is joined of `parts` where there are some, and encoded where there are none. Raises
    MediaError when the source or the result is wrong, Unjoinable when the parts are not this
    plan's, RenderTimeout after `timeout_s` seconds, MediaUnavailable when the network failed,
    Cancelled within a second of `cancelled()`.
    """
    [result] = render_together(
        source,
        [Order(plan, destination, on_progress, tuple(parts))],
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

    What becomes of each is returned in the same order; all else is as in `render`, and what it
    raises is of all.
    """
    deadline = time.monotonic() + timeout_s
    with ExitStack() as stack:
        every = [_Making(each, _folder_beside(each.destination, stack)) for each in orders]
        try:
            with readable(source, cache) as opened:
                for each in every:
                    each.plan = without_bars(opened.name, each.plan, cancelled)
                while making := [each for each in every if each.wanted()]:
                    report, errors = run_engine(
                        _request(opened.name, making, threads),
                        on_progress=partial(_progress, making),
                        cancelled=cancelled,
                        timeout_s=max(0.0, deadline - time.monotonic()),
                    )
                    for each in making:
                        each.take(report, errors)
                for each in every:
                    if isinstance(each.result, Exception):
                        raise each.result  # the source may be what failed
        except (MediaError, MediaUnavailable) as error:
            if not any(each.result is error for each in every):
                raise
        return [each.finished(opened, overwrite=overwrite) for each in every]


def _progress(making: "Sequence[_Making]", told: dict[str, Any]) -> None:
    making[told["output"]].reader.take(told)


def _folder_beside(destination: Path, stack: ExitStack) -> Path:
    """A folder beside an output, which also has what is written beside it, until the stack ends."""
    folder = tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.")
    return Path(stack.enter_context(folder))


class _Making:
    """An output in the making, in a folder of its own; without a result it is to be made (anew)."""

    def __init__(self, order: Order, folder: Path) -> None:
        self.plan, self.parts, self._destination = order.plan, order.parts, order.destination
        self.path = folder / f"made{order.destination.suffix}"
        self.output = Output(str(self.path), "", ())
        self.result: Result | None = None
        self.reader = ProgressReader(float(order.plan.length_s), order.on_progress)
        self._started, self._spent, self._read = time.monotonic(), Counter[str](), 0

    def wanted(self) -> bool:
        """Whether the engine is to make it; what is asked for is its `output` then."""
        if self.result is not None:
            return False
        plan = self.plan
        holds = held_bytes(plan.spec, plan.width, plan.height, plan.pictures)
        try:
            output = output_of(plan, self.path)
        except MediaError as error:
            self.result = error
            return False
        self.output = replace(output, parts=self.parts, end=plan.end, holds=holds)
        return True

    def take(self, report: Report, errors: dict[str, MediaError | MediaUnavailable]) -> None:
        """Take what became of it, unless it is too large: then it is to be made anew, smaller."""
        self._spent.update(report.seconds)
        self._read += report.read_bytes or 0
        made = next((each for each in report.outputs if each.path == str(self.path)), None)
        if made is None:
            self.result = errors[str(self.path)]
            return
        most = self.plan.spec.max_bytes
        try:
            rendered = _rendered(self.plan, made, report, self.path)
            if most is None or rendered.size_bytes <= most:
                self.result = rendered
            else:
                self.plan = _smaller(self.plan, rendered.size_bytes, most)
        except MediaError as error:
            self.result = error

    def finished(self, source: Readable, *, overwrite: bool) -> Result:
        """Have it appear, if it is made."""
        if not isinstance(self.result, Rendered):
            return self.result or MediaError(f"{CUT_FAILED}.")
        self.reader.finish(self.result.frames)
        try:
            if overwrite:
                self.path.replace(self._destination)
            else:
                appear(self.path, self._destination)
        except MediaError as error:
            return error
        other = time.monotonic() - self._started - sum(self._spent.values())
        seconds = {**self._spent, "other": max(0.0, other)}
        return replace(
            self.result,
            read_bytes=self._read if source.fetched is None else source.fetched,
            requests=source.requests,
            seconds={name: round(each, 3) for name, each in seconds.items()},
        )


def appear(partial: Path, destination: Path) -> None:
    """Give a finished file its name, unless another has it. Raises MediaError."""
    try:
        os.link(partial, destination)
    except FileExistsError:
        raise MediaError(f"There is a file named {destination.name!r} already.") from None
    except OSError:  # the file system has no links, or not here
        if destination.exists():
            raise MediaError(f"There is a file named {destination.name!r} already.") from None
        partial.replace(destination)


def _smaller(plan: RenderPlan, size: int, most: int) -> RenderPlan:
    """The plan of a smaller animation than one of `size` bytes. Raises MediaError if none is."""
    found = smaller(plan.animation, most / size) if plan.animation else None
    if found is None:
        raise MediaError(f"{CUT_FAILED}: the smallest is {size} bytes, not {most}: cut less.")
    return plan_of(plan.info, plan.clip, plan.spec, found)


def _request(source: str, making: Sequence[_Making], threads: int | None) -> Request:
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
    )


def _rendered(plan: RenderPlan, made: Made, report: Report, path: Path) -> Rendered:
    if (
        plan.spec.kind not in SOUNDS
        and not (made.copied or plan.joined)
        and (made.width, made.height) != (plan.width, plan.height)
    ):
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
        encoder=container.encoder.name if whole else None,
        quality=quality_of(plan.info, plan.video, plan.spec).told if whole else None,
        sound=made.sound,
        read_bytes=report.read_bytes,
        warnings=(
            *of_output(plan, copied=made.copied > 0),
            *report.warnings,
            *([made.left_out] if made.left_out else []),
        ),
    )
