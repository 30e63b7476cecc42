"""Render one output: have the engine make it by a plan, and report its progress."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from cutmv.media.binaries import ffmpeg_path
from cutmv.media.engine.protocol import Copying, Output, Part, Report, Request
from cutmv.media.engine_process import run_engine
from cutmv.media.errors import CUT_FAILED, MediaError
from cutmv.media.plan import RenderPlan
from cutmv.media.plan import plan as plan_of
from cutmv.media.products.animations import smaller
from cutmv.media.products.containers import Container, container_named, output_extension
from cutmv.media.products.spec import LUFS, SOUNDS
from cutmv.media.remote.cache import Cache
from cutmv.media.source import readable
from cutmv.media.source_warnings import of_output

#: The quality of a WebP, of 100.
WEBP_QUALITY = 75


@dataclass(frozen=True)
class Progress:
    """How far a cut is. None stands for what is not known yet.

    `percent` is that of the frames, `fps` frames made in a second, `speed` seconds of video made
    in a second, `eta_s` seconds left, `out_time_s` seconds of video made.
    """

    percent: float = 0.0
    fps: float | None = None
    speed: float | None = None
    eta_s: float | None = None
    out_time_s: float | None = None
    frame: int = 0


@dataclass(frozen=True)
class Rendered:
    """A finished output: seconds, frames, bytes, pixels.

    `copied` frames are the source's own, bit for bit; `reason` says why none are where all could
    have been. `sound` is "copied" or "encoded", none where there is none. `seconds` are those of
    each stage (see `engine.protocol.Report`), and "other" those of starting and ending the engine;
    `read_bytes` are those of the source that came from the storage, by so many `requests`; of a
    file on this machine, for which there are none, those that were read. `warnings` are
    sentences about the source and the sound.
    """

    duration_s: float
    frames: int
    size_bytes: int
    width: int
    height: int
    copied: int = 0
    reason: str | None = None
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
    started = time.monotonic()
    deadline = started + timeout_s
    spent = Counter[str]()
    # The folder holds what the engine writes beside the output, too.
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as own:
        partial = Path(own, f"made{destination.suffix}")
        reader = ProgressReader(float(plan.length_s), on_progress)
        read = 0
        with readable(source, cache) as opened:
            while True:
                report = run_engine(
                    _request(opened.name, plan, partial, threads, parts),
                    on_progress=reader.take,
                    cancelled=cancelled,
                    timeout_s=max(0.0, deadline - time.monotonic()),
                )
                made = report.outputs[0]
                spent.update(report.seconds)
                read += report.read_bytes or 0
                rendered = _rendered(plan, report, partial)
                if plan.spec.max_bytes is None or rendered.size_bytes <= plan.spec.max_bytes:
                    break
                plan = _smaller(plan, rendered.size_bytes, plan.spec.max_bytes)
        if opened.fetched is not None:
            read = opened.fetched
        rendered = replace(rendered, read_bytes=read, requests=opened.requests)
        reader.finish(made.pictures)
        if overwrite:
            partial.replace(destination)
        else:
            _appear(partial, destination)
    other = time.monotonic() - started - sum(spent.values())
    seconds = {**spent, "other": max(0.0, other)}
    return replace(rendered, seconds={name: round(each, 3) for name, each in seconds.items()})


def _appear(partial: Path, destination: Path) -> None:
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


class ProgressReader:
    """Reads what the engine tells of its progress and reports it; percent never goes back."""

    def __init__(self, length_s: float, on_progress: Callable[[Progress], None]) -> None:
        self._length_s = length_s
        self._on_progress = on_progress
        self._latest = 0.0

    def take(self, told: dict[str, Any]) -> None:
        """Take the engine's word: pictures made, of how many, and the seconds since its start."""
        pictures, whole, seconds = told["pictures"], max(1, told["of"]), max(0.001, told["seconds"])
        part = min(1.0, pictures / whole)
        self._latest = max(self._latest, 100.0 * part)
        made_s = part * self._length_s
        self._on_progress(
            Progress(
                percent=self._latest,
                fps=round(pictures / seconds, 1),
                speed=round(made_s / seconds, 3),
                eta_s=round(seconds * (1 - part) / part, 1) if part else None,
                out_time_s=round(made_s, 3),
                frame=pictures,
            )
        )

    def finish(self, frames: int) -> None:
        """Report the end: all frames are made and checked."""
        length_s = round(self._length_s, 3)
        self._on_progress(Progress(100.0, None, None, 0.0, length_s, frames))


def _request(
    source: str, plan: RenderPlan, path: Path, threads: int | None, parts: Sequence[Part]
) -> Request:
    return Request(
        source=source,
        demuxer=plan.info.container,
        start=plan.start,
        end=plan.end,
        video=plan.video.index,
        audio=_sound(plan),
        program=ffmpeg_path(),
        outputs=(replace(_output(plan, path), parts=tuple(parts)),),
        threads=threads,
    )


def _sound(plan: RenderPlan) -> tuple[int, ...]:
    audio = plan.info.audio
    if audio is None:
        return ()
    return (audio.index,) if audio.right is None else (audio.index, audio.right)


def _output(plan: RenderPlan, path: Path) -> Output:
    if plan.spec.kind in SOUNDS:
        return replace(_heard(plan, path), alone=plan.spec.kind)
    if plan.spec.kind == "still":
        arguments = ["-frames:v", "1", "-c:v", "mjpeg", "-q:v", "2", "-f", "mjpeg"]
        return Output(str(path), plan.filters, tuple(arguments), sharpest=plan.spec.best)
    if plan.spec.kind == "webp":
        arguments = ["-c:v", "libwebp_anim", "-quality", str(WEBP_QUALITY), "-loop", "0"]
        return Output(str(path), plan.filters, (*arguments, "-f", "webp"))
    if plan.animation:
        colours = plan.animation.colours
        # One palette for the whole clip, weighted by what moves.
        filters = (
            f"{plan.filters},split[a][b];[a]palettegen=stats_mode=diff:max_colors={colours}[p];"
            "[b][p]paletteuse=dither=bayer:bayer_scale=5"
        )
        return Output(str(path), filters, ("-loop", "0", "-f", "gif"))
    spec, container = plan.spec, container_named(path.suffix)
    return replace(
        _heard(plan, path),
        filters=plan.filters,
        arguments=(*container.encoder, "-f", "nut"),
        muxer=container.muxer,
        copying=_copying(plan, container),
        pictures=plan.pictures,
        length_s=float(plan.length_s) if spec.kind == "canvas" else None,
        silent=spec.kind == "canvas" or plan.part is not None,
    )


def may_copy(plan: RenderPlan) -> bool:
    """Whether the source's own packets may be in an output."""
    container = container_named(output_extension(plan.info, plan.spec))
    return plan.spec.kind == "cutdown" and _reason(plan, container) is None


def _heard(plan: RenderPlan, path: Path) -> Output:
    """What is heard of an output."""
    loudness = plan.spec.loudness
    lufs = LUFS[loudness] if loudness else None
    return Output(str(path), "", (), fade_s=plan.spec.fade_s, loudness=lufs)


def _copying(plan: RenderPlan, container: Container) -> Copying:
    """Whether packets are copied into a film. Raises MediaError: they must be, and can't."""
    reason = _reason(plan, container)
    if reason and plan.spec.exact_copy == "always" and plan.spec.kind == "cutdown":
        raise MediaError(f"{CUT_FAILED} exactly as it is: {reason}.")
    return "never" if reason or plan.spec.kind != "cutdown" else plan.spec.exact_copy


def _reason(plan: RenderPlan, container: Container) -> str | None:
    """Why no packets are copied, where that is known before the engine looks at them."""
    codec = plan.video.codec
    if plan.reason or plan.spec.kind != "cutdown" or codec in container.pictures:
        return plan.reason
    return f"its codec, {codec}, is not one that we copy into a film of this kind"


def _rendered(plan: RenderPlan, report: Report, path: Path) -> Rendered:
    made = report.outputs[0]
    if (
        plan.spec.kind not in SOUNDS
        and not made.copied
        and (made.width, made.height) != (plan.width, plan.height)
    ):
        raise MediaError(f"{CUT_FAILED}: the result is {made.width}×{made.height} pixels.")
    duration_s = 0.0 if plan.spec.kind == "still" else made.length_s
    told = None if made.copied else _reason(plan, container_named(path.suffix))
    reason = made.reason or told
    return Rendered(
        duration_s=duration_s,
        frames=made.pictures,
        size_bytes=path.stat().st_size,
        width=made.width,
        height=made.height,
        copied=made.copied,
        reason=reason,
        sound=made.sound,
        read_bytes=report.read_bytes,
        warnings=(*of_output(plan, copied=made.copied > 0), *report.warnings),
    )
