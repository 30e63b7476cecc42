"""Makes the outputs of one clip: copied, or by one decode for all that are encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine import check, feed, findings, quality
from cutmv.media.engine.codecs import Uncopyable
from cutmv.media.engine.codecs.base import rate_of
from cutmv.media.engine.joining import Joined
from cutmv.media.engine.protocol import Made, Output, Report, Request
from cutmv.media.engine.single.picture import sharpest
from cutmv.media.engine.single.sound import write as write_sound
from cutmv.media.engine.smartcut import Smart
from cutmv.media.engine.sound.hearing import Hearing
from cutmv.media.engine.source.clip import Clip, Span
from cutmv.media.engine.source.file import SourceError, Undecoded, opened, tick_of
from cutmv.media.engine.source.windows import Window, windows
from cutmv.media.engine.stages import Stages
from cutmv.media.engine.timeline.pictures import Picture, with_dts
from cutmv.media.engine.writer import Seen, Writer

#: Seconds of a stage under which it is not told of.
LEAST_S = 0.0005

#: Called with the pictures made so far, and how many there will be.
Progressed = Callable[[int, int], None]


def make(request: Request, progressed: Progressed) -> Report:
    """Make a request's outputs. Raises SourceError, Uncopyable, Unjoinable, feed.ProgramFailed."""
    stages = Stages()
    with ExitStack() as stack:
        with stages.within("open"):
            container, of_sound = (
                stack.enter_context(opened(request.source, request.demuxer)) for _ in range(2)
            )
        stream = container.streams[request.video]
        if not isinstance(stream, VideoStream):
            raise SourceError("The file's picture is none.")
        stream.codec_context.options = quality.TELL_QUANTIZERS
        stream.codec_context.thread_type = "AUTO"
        span = Span.of(request.start, request.end, tick_of(stream))
        hearing = Hearing(request, of_sound, span)
        with stages.within("sound"):
            alone = {
                each.path: write_sound(each, each.alone, hearing, stages)
                for each in request.outputs
                if each.alone
            }
        if len(alone) == len(request.outputs):
            return _report(request, alone, _of_sound(hearing), stages)
        failure: Undecoded | None = None
        found = windows(container, stream, span.first, span.past)
        for window in stages.each("find", found):
            _refuse_cut_short(stream, window, span.past)
            clip = Clip(container, stream, window, span)
            try:
                made = _Outputs(request, clip, hearing, stages, progressed).make(alone)
            except Undecoded as error:
                failure = error
                continue
            told = findings.of_pictures(clip) + _of_sound(hearing)
            return _report(request, made, told, stages)
        raise failure or SourceError("The file has no picture there that can be decoded.")


def _of_sound(hearing: Hearing) -> list[str]:
    return findings.of_sound(hearing.silent_s) + hearing.warnings


def _report(request: Request, made: dict[str, Made], told: list[str], stages: Stages) -> Report:
    outputs = tuple(made[each.path] for each in request.outputs)
    seconds = {name: each for name, each in stages.seconds.items() if each > LEAST_S}
    return Report(outputs, tuple(told), seconds)


def _refuse_cut_short(stream: VideoStream, window: Window, end: int) -> None:
    """Raise SourceError where the file's header promises pictures there that the file lacks."""
    finish, tick = window.timeline.end, tick_of(stream)
    if finish is None or stream.duration is None:
        return
    promised = (stream.start_time or 0) + stream.duration
    missing = (min(promised, end) - finish) * tick
    gaps = [b.pts - a.pts for a, b in pairwise(window.timeline.shown())]
    longest = max(gaps, default=0) * tick
    if missing > 2 * max(longest, 1 / rate_of(stream)):
        at_s = float((finish - (stream.start_time or 0)) * tick + 1 / rate_of(stream))
        raise SourceError(f"the file is cut short, and its picture ends at {at_s:.3f} s.")


class _Outputs:
    def __init__(
        self,
        request: Request,
        clip: Clip,
        hearing: Hearing,
        stages: Stages,
        progressed: Progressed,
    ) -> None:
        self._request, self._clip, self._progressed = request, clip, progressed
        self._hearing, self._stages, self._tick = hearing, stages, clip.span.tick

    def make(self, alone: dict[str, Made]) -> dict[str, Made]:
        """Make all outputs but those that are made already, which have the sound alone.

        Returns all, by path.
        """
        made = dict(alone)
        reasons: dict[str, str] = {}
        for output in self._request.outputs:
            if output.parts and output.muxer:
                made[output.path] = self._joined(output, output.muxer)
        for output in self._request.outputs:
            if output.path in made or output.copying == "never" or output.muxer is None:
                continue
            try:
                made[output.path] = self._copied(output, output.muxer)
            except Uncopyable as reason:
                if output.copying == "always":
                    raise
                reasons[output.path] = str(reason)
        rest = [each for each in self._request.outputs if each.path not in made]
        chosen = [each for each in rest if each.sharpest]
        together = [each for each in rest if not each.sharpest]
        with self._stages.within("encode"):
            said = self._run(together, self._frames()) if together else ""
            for output in chosen:
                said += self._run([output], self._sharpest())
        for output in rest:
            try:
                made[output.path] = self._finished(output, reasons.get(output.path))
            except (SourceError, av.FFmpegError, ValueError) as error:
                raise feed.ProgramFailed(said) if said else error from error
        return made

    def _copied(self, output: Output, muxer: str) -> Made:
        clip, stages = self._clip, self._stages
        with stages.within("find"):
            smart = Smart(clip)
        with Writer(Path(output.path), muxer, self._tick) as writer:
            with stages.within("edges"):
                copied, encoded = smart.add_to(writer)
            told = self._hear(writer, output)
            with stages.within("copy"):
                for count, packet in enumerate(smart.packets(stages), start=1):
                    writer.put(packet)
                    self._progressed(min(count, len(clip.pictures)), len(clip.pictures))
            with stages.within("write"):
                writer.finish(clip.span.length)
        self._check(output, writer, told is not None)
        size = (clip.stream.codec_context.width, clip.stream.codec_context.height)
        return self._made(output, copied + encoded, size, copied=copied, sound=told)

    def _joined(self, output: Output, muxer: str) -> Made:
        joined, end = Joined(output.parts, self._clip.span), self._length(output)
        joined.refuse_others(self._clip, output.pictures)
        with Writer(Path(output.path), muxer, self._tick) as writer:
            joined.add_to(writer)
            told = self._hear(writer, output)
            with self._stages.within("copy"):
                for count, packet in enumerate(joined.packets(end), start=1):
                    writer.put(packet)
                    self._progressed(count, len(joined.times))
            with self._stages.within("write"):
                writer.finish(end)
        self._check(output, writer, told is not None)
        return self._made(output, len(joined.times), joined.size, sound=told)

    def _run(self, outputs: list[Output], frames: Iterator[VideoFrame]) -> str:
        """Run the program for these outputs; return what it complained about.

        A film's picture goes to a file beside it.
        """
        targets = [
            feed.Target(
                _picture_of(output) if output.muxer else Path(output.path),
                output.filters,
                (*(self._own_times() if output.muxer else ()), *output.arguments),
            )
            for output in outputs
        ]
        whole = len(self._clip.pictures)
        return feed.run(
            self._request.program,
            targets,
            frames,
            self._tick,
            threads=self._request.threads,
            fed=lambda count: self._progressed(count, whole),
        )

    def _own_times(self) -> tuple[str, ...]:
        """The options by which each picture keeps its own time."""
        tick = self._tick
        clock = f"{tick.numerator}:{tick.denominator}"
        return ("-fps_mode", "passthrough", "-enc_time_base", clock)

    def _frames(self) -> Iterator[VideoFrame]:
        yield from self._clip.decoded(self._clip.pictures)

    def _sharpest(self) -> Iterator[VideoFrame]:
        """Yield the sharpest picture, at the clip's start. Raises SourceError: all are black."""
        frame = sharpest(self._frames())
        if frame is None:
            length_s = float(self._clip.span.length * self._tick)
            raise SourceError(f"all pictures are black in its {length_s:g} s.")
        frame.pts = 0
        yield frame

    def _finished(self, output: Output, reason: str | None) -> Made:
        if output.path.endswith(".webp"):
            count, size = check.webp(Path(output.path))
            return self._made(output, count, size, reason=reason)
        if output.muxer is None:
            with av.open(output.path) as file:
                video = file.streams.video[0]
                count = sum(1 for packet in file.demux(video) if packet.size)
                size = (video.codec_context.width, video.codec_context.height)
            return self._made(output, count, size, reason=reason)
        beside = _picture_of(output)
        try:
            with av.open(str(beside), format="nut") as file:
                video = file.streams.video[0]
                packets = [packet for packet in file.demux(video) if packet.size]
                size = (video.codec_context.width, video.codec_context.height)
                with (
                    self._stages.within("write"),
                    Writer(Path(output.path), output.muxer, self._tick) as writer,
                ):
                    writer.add_picture(video, None)
                    told = None if output.silent else self._hear(writer, output)
                    for seen in self._timed(video, packets, self._length(output)):
                        writer.put(seen)
                    writer.finish(self._length(output))
            self._check(output, writer, told is not None)
        finally:
            beside.unlink(missing_ok=True)
        if len(packets) != (output.pictures or len(self._clip.pictures)):
            raise SourceError("Pictures are missing in the result.")
        return self._made(output, len(packets), size, sound=told, reason=reason)

    def _hear(self, writer: Writer, output: Output) -> str | None:
        with self._stages.within("sound"):
            return self._hearing.add_to(writer, output, self._stages)

    def _length(self, output: Output) -> int:
        """Return how long an output is shown, in ticks."""
        if output.length_s is None:
            return self._clip.span.length
        return round(output.length_s / self._tick)

    def _timed(
        self, video: VideoStream, packets: list[av.Packet[VideoStream]], end: int
    ) -> Iterator[Seen]:
        """Yield a program's packets with the clip's times: its own may be shifted.

        Each is shown until the next, the last until the `end`.
        """
        ratio = tick_of(video) / self._tick
        first = min(packet.pts or 0 for packet in packets)
        times = [round(((packet.pts or 0) - first) * ratio) for packet in packets]
        shown = sorted(times)
        durations = dict(zip(shown, [b - a for a, b in pairwise([*shown, end])], strict=True))
        placed = with_dts([Picture(pts, None) for pts in times])
        for packet, picture in zip(packets, placed, strict=True):
            pts, dts = picture.pts, picture.dts or 0
            yield Seen(bytes(packet), pts, dts, durations[pts], packet.is_keyframe)

    def _check(self, output: Output, writer: Writer, heard: bool) -> None:
        last_s = float(writer.last * self._tick)
        with self._stages.within("check"):
            check.film(Path(output.path), packets=writer.count, last=last_s, sound=heard)

    def _made(
        self,
        output: Output,
        pictures: int,
        size: tuple[int, int],
        *,
        copied: int = 0,
        sound: str | None = None,
        reason: str | None = None,
    ) -> Made:
        length_s = float(self._length(output) * self._tick)
        return Made(output.path, pictures, copied, length_s, *size, sound, reason)


def _picture_of(output: Output) -> Path:
    path = Path(output.path)
    return path.with_name(f"{path.name}.nut")
