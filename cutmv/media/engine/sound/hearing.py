"""The sound of a clip, from one track or from two, for a film or alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from cutmv.media.engine.protocol import Output, Request
from cutmv.media.engine.sound import copying, decoding, encoding, forms, shaping
from cutmv.media.engine.sound.filtering import filtered, limiter
from cutmv.media.engine.sound.loudness import NEAR_LU, Level, level_for
from cutmv.media.engine.source.clip import Span
from cutmv.media.engine.source.file import SourceError, opened
from cutmv.media.engine.stages import Stages
from cutmv.media.engine.writer import Writer


class Hearing:
    """What is heard in a span: a track, or two that are its left and its right channel."""

    def __init__(
        self, request: Request, container: InputContainer, span: Span, track: Sequence[int]
    ) -> None:
        self._request, self._container, self._track = request, container, track
        self._heard = [
            each for index in track if isinstance(each := container.streams[index], AudioStream)
        ]
        #: The span, in seconds on the file's clock.
        self.start_s = span.start * span.tick
        self.end_s = (span.start + span.length) * span.tick
        #: Seconds of it for which the source turned out to have no sound.
        self.silent_s = Fraction(0)
        #: Sentences about its loudness.
        self.warnings: list[str] = []
        self._levels: dict[tuple[str, int, float, float], Level | None] = {}

    @property
    def there(self) -> bool:
        """Whether there is any."""
        return bool(self._heard)

    @property
    def rate(self) -> int:
        """Samples a second in the source."""
        return self._heard[0].rate

    @property
    def layout(self) -> str:
        """The source's layout of channels."""
        return "stereo" if self._two else self._heard[0].codec_context.layout.name

    @property
    def deep(self) -> bool:
        """Whether its samples have more than 16 bits in the source, bit for bit."""
        context = self._heard[0].codec_context
        return context.codec.lossless and not context.codec.lossy and context.format.bits > 16

    def add_to(
        self, writer: Writer, output: Output, stages: Stages, known: frozenset[str]
    ) -> str | None:
        """Add the sound of an output; return whether it is "copied" or "encoded", none without.

        Packets are copied of the codecs that are `known`. Its making is the stage "sound".
        """
        if not self._heard:
            return None
        left = self._heard[0]
        codec = left.codec_context.name
        if output.hertz:
            known = copying.EVERYWHERE  # and on platforms
        whole = known != copying.EVERYWHERE
        form = forms.form_for(writer.muxer, codec, copied=whole).holding(deep=self.deep)
        if output.hertz:
            form = form.of_platforms(output.hertz)
        layout, rate = form.of(self.layout, self.rate)
        level = self._level(layout, rate, output)
        same = (layout, rate) == (self.layout, self.rate)
        as_is = not output.fade_s and level is None and (same or not output.hertz)
        if as_is and writer.has_edit_lists and not self._two and copying.codec_of(left) in known:
            copy = copying.copied(self._container, left, self.start_s, self.end_s)
            if copy is not None:
                writer.add_sound(left, copy.packets, copy.header)
                return "copied"
        encoder = encoding.encoder(form, layout, rate)
        frames = self.frames(layout, rate, output)
        heard = encoding.encoded(encoder, frames, self._length(rate))
        writer.add_encoded_sound(encoder, stages.each("sound", heard), left)
        return "copied" if as_is and same and forms.lossless(form, codec) else "encoded"

    def frames(self, layout: str, rate: int, output: Output) -> Iterator[AudioFrame]:
        """Yield the sound of an output, decoded, exact to the sample, faded and as loud."""
        level = self._level(layout, rate, output)
        frames = self._faded(layout, rate, output.fade_s)
        return frames if level is None else filtered(frames, level.filters())

    def _level(self, layout: str, rate: int, output: Output) -> Level | None:
        """Return how the sound gets the loudness of an output; none where it stays as it is."""
        if output.loudness is None:
            return None
        key = (layout, rate, output.fade_s, output.loudness)
        if key not in self._levels:
            level = level_for(lambda: self._faded(layout, rate, output.fade_s), output.loudness)
            self._levels[key] = level
            if level is None:
                self.warnings.append(
                    "The sound is silent, or too short to measure: it is as loud as it was."
                )
            elif abs(level.lufs - output.loudness) > NEAR_LU:
                self.warnings.append(
                    f"The sound has {level.lufs:.1f} LUFS, and not {output.loudness:g}: its peaks"
                    " allow no more."
                )
        return self._levels[key]

    def _faded(self, layout: str, rate: int, fade_s: float) -> Iterator[AudioFrame]:
        if self._two:
            frames = self._both(rate)
        else:
            frames = self._decoded(self._container, self._heard[0], layout, rate)
        # Channels that are mixed are each as loud as before, so that their sum may be too loud.
        frames = filtered(frames, [limiter(1.0)])
        count = round(fade_s * rate)
        return shaping.faded(frames, self._length(rate), count, count)

    @property
    def _two(self) -> bool:
        return len(self._heard) > 1

    def _length(self, rate: int) -> int:
        return round((self.end_s - self.start_s) * rate)

    def _decoded(
        self, container: InputContainer, stream: AudioStream, layout: str, rate: int
    ) -> Iterator[AudioFrame]:
        silent = yield from decoding.decoded(
            container, stream, self.start_s, self.end_s, (layout, rate)
        )
        self.silent_s = max(self.silent_s, Fraction(silent, rate))

    def _both(self, rate: int) -> Iterator[AudioFrame]:
        """Yield stereo of a left channel and of the right one, which is another track."""
        left = self._decoded(self._container, self._heard[0], "mono", rate)
        with opened(self._request.source, self._request.demuxer) as container:
            stream = container.streams[self._track[1]]
            if not isinstance(stream, AudioStream):
                raise SourceError("The file's right channel is none.")
            yield from shaping.stereo(left, self._decoded(container, stream, "mono", rate))
