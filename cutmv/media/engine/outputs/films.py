"""Makes the outputs of one clip: copied, or by one decode for all that are encoded."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from cutmv.media.engine import check, findings, tracks
from cutmv.media.engine.codecs import Uncopyable
from cutmv.media.engine.codecs.base import rate_of
from cutmv.media.engine.outputs import feed
from cutmv.media.engine.outputs.joining import Joined
from cutmv.media.engine.outputs.montage import alike
from cutmv.media.engine.outputs.results import FAILURES, Ended, Progressed, Results
from cutmv.media.engine.outputs.single.sound import write as write_sound
from cutmv.media.engine.outputs.smartcut import Smart
from cutmv.media.engine.outputs.together import Together, picture_of
from cutmv.media.engine.protocol import Made, Output, Request
from cutmv.media.engine.sound.copying import EVERYWHERE, HELD, PLAYED
from cutmv.media.engine.sound.hearing import Hearing
from cutmv.media.engine.source.clip import Again, Clip, Span
from cutmv.media.engine.source.file import (
    SourceError,
    Undecoded,
    is_cut_short,
    opened,
    tick_of,
    video_of,
)
from cutmv.media.engine.source.windows import NO_PICTURE, Window, windows
from cutmv.media.engine.timeline.pictures import Picture, with_dts
from cutmv.media.engine.writer import Seen, Writer

#: Seconds beside a clip in which is looked for the pictures next to it, where these are needed.
BESIDE_S = Fraction(1, 2)


def make(request: Request, progressed: Progressed, ended: Ended) -> None:
    """Make a request's outputs; one that fails voids no other. Raises Unopened, FFmpegError."""
    results = Results(request, progressed, ended)
    stages = results.stages
    with ExitStack() as stack:
        with stages.within("open"):
            # Picture and tracks are read at once, each from a place of its own.
            heard_tracks = request.tracks or ((),)
            container, *of_sound = (
                stack.enter_context(opened(request.source, request.demuxer))
                for _ in (request.video, *heard_tracks)
            )
        stream = video_of(container, request.video)
        clock = tick_of(stream)
        span = Span.of(request.start, request.end, clock)
        if span.length < 1:
            raise SourceError("it is shorter than a tick of the file's clock.")
        hearings = [
            Hearing(request, place, span, track)
            for place, track in zip(of_sound, heard_tracks, strict=True)
        ]
        for each in request.outputs:
            if each.alone:
                with results.trying(each), stages.within("sound"):
                    made = write_sound(each, each.alone, hearings[0], stages)
                    results.put(made, _of_sound(hearings))
        while results.left:
            # What ends earlier can perhaps be made where what ends last can't.
            end = max(each.end or request.end for each in results.left)
            beside = round(BESIDE_S / clock) if any(any(e.neighbours) for e in results.left) else 0
            span = Span.of(request.start, end, clock)
            found = windows(container, stream, span.first - beside, span.past + beside)
            again = partial(opened, request.source, request.demuxer)
            clips = _clips(stages.each("find", found), container, stream, span, again)
            try:
                _make_of(request, clips, hearings, results)
            except FAILURES as error:
                for each in results.left:
                    if (each.end or request.end) == end:
                        results.fail(each, error)


def _of_sound(hearings: list[Hearing]) -> list[str]:
    silent_s = max(each.silent_s for each in hearings)
    told = [warning for each in hearings for warning in each.warnings]
    return findings.of_sound(silent_s) + list(dict.fromkeys(told))


def _make_of(
    request: Request, clips: Iterator[Clip], hearings: list[Hearing], results: Results
) -> None:
    """Make the outputs that are left."""
    failure: Undecoded | None = None
    for clip in clips:
        try:
            _Outputs(request, clip, hearings, results).make()
            return
        except Undecoded as error:
            failure = error
    raise failure or SourceError(NO_PICTURE)


def _clips(
    found: Iterator[Window],
    container: InputContainer,
    stream: VideoStream,
    span: Span,
    again: Again,
) -> Iterator[Clip]:
    """Yield the clip as it is when reading begins ever earlier. Raises SourceError."""
    for window in found:
        _refuse_cut_short(container, stream, window, span.past)
        yield Clip(container, stream, window, span, again)


def _refuse_cut_short(
    container: InputContainer, stream: VideoStream, window: Window, end: int
) -> None:
    """Raise SourceError where the file's header promises pictures there that the file lacks."""
    finish, tick = window.timeline.end, tick_of(stream)
    if finish is None:
        return
    if stream.duration is not None:
        promised = (stream.start_time or 0) + stream.duration
    elif is_cut_short(container):
        promised = end  # which is no later than the length that the header tells
    else:
        return
    missing = (min(promised, end) - finish) * tick
    gaps = [b.pts - a.pts for a, b in pairwise(window.timeline.shown())]
    longest = max(gaps, default=0) * tick
    if missing > 2 * max(longest, 1 / rate_of(stream)):
        at_s = float((finish - (stream.start_time or 0)) * tick + 1 / rate_of(stream))
        raise SourceError(f"the file is cut short, and its picture ends at {at_s:.3f} s.")


def _known(muxer: str, output: Output) -> frozenset[str]:
    """Return the codecs of sound that is copied beside pictures that are."""
    played, held = PLAYED.get(muxer, EVERYWHERE), HELD.get(muxer, EVERYWHERE)
    return played | held if output.copying == "always" else played


class _Outputs:
    def __init__(
        self,
        request: Request,
        clip: Clip,
        hearings: list[Hearing],
        results: Results,
    ) -> None:
        self._request, self._clip, self._tick = request, clip, clip.span.tick
        self._hearings, self._results, self._stages = hearings, results, results.stages
        #: Why the pictures of an output are not copied, by its path.
        self._reasons: dict[str, str] = {}

    def make(self) -> None:
        """Make all outputs that are left. Raises Undecoded."""
        for output in self._results.left:
            if output.parts and output.muxer:
                with self._results.trying(output):
                    self._put(self._joined(output, output.muxer))
        for output in self._results.left:
            if output.copying == "never" or output.muxer is None:
                continue
            with self._results.trying(output):
                try:
                    self._put(self._copied(output, output.muxer))
                except Uncopyable as reason:
                    if output.copying == "always":
                        raise
                    self._reasons[output.path] = str(reason)
        request = self._request
        together = Together(
            request.program, request.threads, self._clip, self._results, self._finish
        )
        with self._stages.within("encode"):
            together.run(self._results.left)

    def _put(self, made: Made) -> None:
        self._results.put(made, findings.of_pictures(self._clip) + _of_sound(self._hearings))

    def _finish(self, output: Output, complaint: str) -> None:
        """Finish an output that the program has written, and complained about, if it did."""
        with self._results.trying(output):
            try:
                self._put(self._finished(output, self._reasons.get(output.path)))
            except (SourceError, av.FFmpegError, ValueError) as error:
                raise feed.ProgramFailed(complaint) if complaint else error from error

    def _copied(self, output: Output, muxer: str) -> Made:
        clip, stages = self._clip, self._stages
        with stages.within("find"):
            smart = Smart(clip, joined=output.joined and output.copying != "always")
        with closing(smart), Writer(Path(output.path), muxer, self._tick) as writer:
            with stages.within("edges"):
                copied, encoded = smart.add_to(writer)
            told = self._hear(writer, output, _known(muxer, output))
            with stages.within("copy"):
                for count, packet in enumerate(smart.packets(stages), start=1):
                    writer.put(packet)
                    self._results.progressed(
                        output, min(count, len(clip.pictures)), len(clip.pictures)
                    )
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
                    self._results.progressed(output, count, len(joined.times))
            with self._stages.within("write"):
                writer.finish(end)
        self._check(output, writer, told is not None)
        return self._made(output, len(joined.times), joined.size, sound=told)

    def _finished(self, output: Output, reason: str | None) -> Made:
        if output.path.endswith(".webp"):
            count, size = check.webp(Path(output.path))
            return self._made(output, count, size, reason=reason)
        if output.muxer is None:
            count = output.pictures or 1
            size = check.pictures(Path(output.path), count)
            return self._made(output, count, size, reason=reason)
        beside = picture_of(output)
        if output.like:
            try:
                length_s = self._length(output) * self._tick
                return alike.write(output, output.like, output.muxer, beside, length_s)
            finally:
                beside.unlink(missing_ok=True)
        try:
            with av.open(str(beside), format="nut") as file:
                video = file.streams.video[0]
                times = array("q", (each.pts or 0 for each in file.demux(video) if each.size))
            with av.open(str(beside), format="nut") as file:
                video = file.streams.video[0]
                size = (video.codec_context.width, video.codec_context.height)
                with (
                    self._stages.within("write"),
                    Writer(Path(output.path), output.muxer, self._tick) as writer,
                ):
                    writer.add_picture(video, None)
                    told = None if output.silent else self._hear(writer, output)
                    for seen in self._timed(file, times, self._length(output)):
                        writer.put(seen)
                    writer.finish(self._length(output))
            self._check(output, writer, told is not None)
        finally:
            beside.unlink(missing_ok=True)
        if len(times) != (output.pictures or self._clip.count_before(self._length(output))):
            raise SourceError("Pictures are missing in the result.")
        return self._made(output, len(times), size, sound=told, reason=reason)

    def _hear(
        self, writer: Writer, output: Output, known: frozenset[str] = EVERYWHERE
    ) -> str | None:
        """Add what is heard and read; return how the sound was added, none where there is none.

        Sound of the codecs that are `known` is copied.
        """
        with self._stages.within("sound"):
            told = [each.add_to(writer, output, self._stages, known) for each in self._hearings]
        if output.with_texts:
            span, container = self._clip.span, self._clip.container
            bounds = (span.start * span.tick, (span.start + span.length) * span.tick)
            part = tracks.Part(container, *bounds)
            tracks.add_texts(writer, [part])
            tracks.add_chapters(writer, tracks.chapters(part))
        # One word for several: what is encoded is not the source's own.
        return "encoded" if "encoded" in told else told[0]

    def _length(self, output: Output) -> int:
        """Return how long an output is shown, in ticks."""
        if output.length_s is None:
            return self._clip.until(output.end)
        return round(output.length_s / self._tick)

    def _timed(self, file: InputContainer, own: Sequence[int], end: int) -> Iterator[Seen]:
        """Yield a program's packets with the clip's times: their `own` may be shifted.

        Each is shown until the next, the last until the `end`.
        """
        video = file.streams.video[0]
        ratio = tick_of(video) / self._tick
        first = min(own)
        times = [round((at - first) * ratio) for at in own]
        shown = sorted(times)
        durations = dict(zip(shown, [b - a for a, b in pairwise([*shown, end])], strict=True))
        placed = with_dts([Picture(pts, None) for pts in times])
        packets = (packet for packet in file.demux(video) if packet.size)
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
        left_out = None
        if output.muxer and not output.silent:
            kept = {self._request.video, *chain.from_iterable(self._request.tracks)}
            with_texts = output.with_texts
            left_out = tracks.left_out(self._clip.container, kept, with_texts=with_texts)
        return Made(output.path, pictures, copied, length_s, *size, sound, reason, left_out)
