"""Render one output: run FFmpeg by a plan, report its progress, and check what it made."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from cutmv.media.binaries import ffmpeg_path
from cutmv.media.child import Limits, run
from cutmv.media.errors import CUT_FAILED, MediaError, NoRoom, RenderTimeout, explain
from cutmv.media.ffprobe import ask
from cutmv.media.frames import Frames, find_frames
from cutmv.media.plan import GIF_RATE, RenderPlan
from cutmv.media.source import input_args, readable

#: x264's speed and quality: near-transparent, at a third of the default preset's time.
PRESET, CRF = "veryfast", 20
#: Bits a second of the sound, AAC stereo.
AUDIO_BITRATE = "192k"
#: Bytes of memory (address space) that a cut may take: 8K pictures and their references fit.
MEMORY_BYTES = 12 * 2**30
#: Bytes of the largest output.
OUTPUT_BYTES = 20 * 10**9
#: Seconds before the first frame at which reading starts, one for each attempt. In some containers
#: FFmpeg finds the keyframe before a time only roughly, and then fails or leaves frames out; the
#: last attempt reads from the start.
PREROLLS_S = (0.5, 15.0, float("inf"))
#: Seconds that the check of a finished output may take.
CHECK_TIMEOUT_S = 120.0
#: FFmpeg's muxer, and ffprobe's demuxer, of each kind of output.
MUXERS = {"cutdown": "mp4", "gif": "gif", "still": "mjpeg"}
DEMUXERS = {"cutdown": "mov", "gif": "gif", "still": "jpeg_pipe"}


@dataclass(frozen=True)
class Progress:
    """How far FFmpeg is. None stands for what is not known yet.

    `percent` is that of the frames, `fps` frames encoded in a second, `speed` seconds of video made
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
    """A finished output: seconds, frames, bytes, pixels."""

    duration_s: float
    frames: int
    size_bytes: int
    width: int
    height: int


def render(
    source: str | Path,
    plan: RenderPlan,
    destination: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    cancelled: Callable[[], bool] | None = None,
    timeout_s: float,
    threads: int | None = None,
) -> Rendered:
    """Make one output at `destination`, which appears whole or not at all.

    `source` is a path or an HTTP URL. `threads` bounds FFmpeg's (default: one a core). Raises
    MediaError when the source or the result is wrong, RenderTimeout after `timeout_s` seconds,
    MediaUnavailable when the network failed, Cancelled within a second of `cancelled()`.
    """
    ends = time.monotonic() + timeout_s
    number, name = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
    os.close(number)
    partial = Path(name)
    try:
        with readable(source) as readable_source:
            frames = find_frames(readable_source, plan, timeout_s=timeout_s, cancelled=cancelled)
            reader = ProgressReader(frames, on_progress)
            starts = _starts(plan, frames)
            for from_s in starts:
                argv = _command(readable_source, plan, frames, from_s)
                argv += ["-threads", str(threads)] if threads else []
                limits = Limits(MEMORY_BYTES, OUTPUT_BYTES, max(0.0, ends - time.monotonic()))
                argv += [f"file:{partial}"]
                try:
                    ended = run(argv, limits=limits, on_line=reader.take_line, cancelled=cancelled)
                    if ended.code != 0:
                        raise explain(CUT_FAILED, ended.code, ended.stderr, readable_source)
                    try:
                        rendered = _check(partial, plan, frames, cancelled)
                    except MediaError:
                        # FFmpeg says that the disk is full, and ends as if all were well.
                        said = explain(CUT_FAILED, ended.code, ended.stderr, readable_source)
                        if isinstance(said, NoRoom):
                            raise said from None
                        raise
                    break
                except RenderTimeout:
                    raise
                except MediaError:
                    if from_s == starts[-1]:
                        raise
        reader.finish()
        partial.chmod(0o644)
        partial.replace(destination)
        return rendered
    finally:
        partial.unlink(missing_ok=True)


class ProgressReader:
    """Reads the lines of FFmpeg's `-progress` and reports each group; percent never goes back."""

    def __init__(self, frames: Frames, on_progress: Callable[[Progress], None]) -> None:
        self._on_progress = on_progress
        self._frames = frames
        self._values: dict[str, str] = {}
        self._latest = Progress()

    def take_line(self, text: str) -> None:
        """Take one line, `key=value`; `progress=…` ends a group and reports it."""
        key, _, value = text.partition("=")
        self._values[key.strip()] = value.strip()
        if key != "progress":
            return
        # Values may be N/A, or negative at first.
        frame, speed = int(self._number("frame")), self._number("speed") or None
        part = min(1.0, frame / self._frames.count)
        made_s = part * self._frames.length_s
        self._latest = Progress(
            percent=max(self._latest.percent, 100.0 * part),
            fps=self._number("fps") or None,
            speed=speed,
            eta_s=round((self._frames.length_s - made_s) / speed, 1) if speed else None,
            out_time_s=round(made_s, 3),
            frame=frame,
        )
        self._on_progress(self._latest)

    def finish(self) -> None:
        """Report the end: all frames are made and checked."""
        length_s = round(self._frames.length_s, 3)
        last = replace(self._latest, percent=100.0, eta_s=0.0, out_time_s=length_s)
        self._on_progress(replace(last, frame=self._frames.count))

    def _number(self, key: str) -> float:
        try:
            return float(self._values.get(key, "").rstrip("x"))
        except ValueError:
            return 0.0


def _starts(plan: RenderPlan, frames: Frames) -> list[float]:
    """Where to start reading, in seconds from the file's start, in the order of the attempts."""
    first_s = float(frames.first_pts * plan.video.time_base) - plan.info.start_s
    return sorted({max(0.0, first_s - preroll_s) for preroll_s in PREROLLS_S}, reverse=True)


def _command(source: str, plan: RenderPlan, frames: Frames, from_s: float) -> list[str]:
    """The command line, without the output file."""
    argv = [ffmpeg_path(), "-hide_banner", "-nostdin", "-v", "error", "-y"]
    argv += ["-progress", "pipe:1", "-stats_period", "0.2"]
    # Timestamps stay the source's, so that frames are chosen by whole ticks of its clock.
    argv += ["-copyts", "-noaccurate_seek"]
    argv += ["-ss", f"{from_s:.6f}"] if from_s > 0 else []
    argv += input_args(source, plan.info.container)
    argv += ["-map_metadata", "-1", "-map_chapters", "-1", "-sn", "-dn"]
    return [*argv, *_streams(plan, frames), "-f", MUXERS[plan.spec.kind]]


def _streams(plan: RenderPlan, frames: Frames) -> list[str]:
    tick = plan.video.time_base
    video = (
        f"[0:{plan.video.index}]settb={tick},"
        f"trim=start_pts={frames.first_pts}:end_pts={plan.end_pts},"
        f"setpts=PTS-{frames.first_pts},"
    )
    if plan.spec.kind == "still":
        graph = f"{video}{plan.filters}[v]"
        return ["-filter_complex", graph, "-map", "[v]", "-frames:v", "1", "-c:v", "mjpeg",
                "-q:v", "2"]  # fmt: skip
    if plan.spec.kind == "gif":
        # One palette for the whole clip, weighted by what moves.
        graph = (
            f"{video}fps={GIF_RATE}:round=up,{plan.filters},split[a][b];"
            "[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=bayer:bayer_scale=5[v]"
        )
        return ["-filter_complex", graph, "-map", "[v]", "-loop", "0"]
    graph = f"{video}{plan.filters}[v]"
    options = ["-map", "[v]", "-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF)]
    # Each frame keeps its own time, on the source's clock.
    clock = f"{tick.numerator}:{tick.denominator}"
    options += ["-fps_mode", "passthrough", "-enc_time_base", clock]
    options += ["-video_track_timescale", str(_timescale(tick)), "-movflags", "+faststart"]
    if plan.info.audio:
        graph += f";[0:{plan.info.audio.index}]{_sound(plan, frames)}[s]"
        options += ["-map", "[s]", "-c:a", "aac", "-b:a", AUDIO_BITRATE, "-ac", "2"]
    return ["-filter_complex", graph, *options]


def _sound(plan: RenderPlan, frames: Frames) -> str:
    """The filters for the sound, from the first frame's start to the last one's end, exactly."""
    tick = plan.video.time_base
    start, length = frames.first_pts * tick, (frames.end_pts - frames.first_pts) * tick
    return (
        f"atrim=start={float(start):.6f}:end={float(start + length):.6f},"
        f"asetpts=PTS-({start})/TB,"
        # Silence fills the time before, between and after the source's sound.
        f"aresample=async=1:first_pts=0,apad=whole_dur={float(length):.6f},"
        f"atrim=end={float(length):.6f}"
    )


def _timescale(tick: Fraction) -> int:
    """Ticks a second of the output's clock: whole source ticks, and fine enough for players."""
    scale = tick.denominator
    while scale < 10_000:
        scale *= 10
    return scale


def _check(
    made: Path, plan: RenderPlan, frames: Frames, cancelled: Callable[[], bool] | None
) -> Rendered:
    """Measure the output. Raises MediaError when it is not as planned, whatever the exit code."""
    kind = plan.spec.kind
    shown = ["-count_packets", "-select_streams", "v:0"]
    shown += ["-show_entries", "stream=width,height,nb_read_packets"]
    stream: dict[str, Any] = {}
    if made.stat().st_size > 0:
        demuxer, limit_s = DEMUXERS[kind], CHECK_TIMEOUT_S
        found = ask(
            str(made), demuxer, shown, timeout_s=limit_s, what=CUT_FAILED, cancelled=cancelled
        )
        stream = next(iter(found.get("streams", ())), stream)
    count = int(stream.get("nb_read_packets", 0))
    size = (int(stream.get("width", 0)), int(stream.get("height", 0)))
    # A GIF's frames are made anew, and the last one may fall on the clip's very end.
    if abs(count - frames.count) > (kind == "gif") or size != (plan.width, plan.height):
        raise MediaError(f"{CUT_FAILED}: the video is damaged there, and frames are missing.")
    duration_s = 0.0 if kind == "still" else frames.length_s
    return Rendered(duration_s, count, made.stat().st_size, *size)
