"""The sound of a clip, from one track or from two, for a film or alone."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from cutmv.media.engine.protocol import Request
from cutmv.media.engine.sound import copying, decoding, encoding, shaping
from cutmv.media.engine.sound.filtering import filtered, limiter
from cutmv.media.engine.source.clip import Span
from cutmv.media.engine.source.file import SourceError, opened
from cutmv.media.engine.stages import Stages
from cutmv.media.engine.writer import Writer


class Hearing:
    """What is heard in a span: a track, or two that are its left and its right channel."""

    def __init__(self, request: Request, container: InputContainer, span: Span) -> None:
        self._request, self._container = request, container
        self._heard = [
            each
            for index in request.audio
            if isinstance(each := container.streams[index], AudioStream)
        ]
        #: The span, in seconds on the file's clock.
        self.start_s = span.start * span.tick
        self.end_s = (span.start + span.length) * span.tick
        #: Seconds of it for which the source turned out to have no sound.
        self.silent_s = Fraction(0)

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

    def add_to(self, writer: Writer, fade_s: float, stages: Stages) -> str | None:
        """Add the sound; return whether it is "copied" or "encoded", none where there is none.

        It fades in and out in `fade_s` seconds. Its making is the stage "sound".
        """
        if not self._heard:
            return None
        left = self._heard[0]
        if not self._two and not fade_s:
            packets = copying.copied(self._container, left, self.start_s, self.end_s)
            if packets is not None:
                writer.add_sound(left, iter(packets))
                return "copied"
        encoder = encoding.encoder(left, stereo=self._two)
        layout, rate = encoding.layout_and_rate(left)
        frames = self.frames("stereo" if self._two else layout, rate, fade_s)
        heard = encoding.encoded(encoder, frames, self._length(rate))
        writer.add_encoded_sound(encoder, stages.each("sound", heard))
        return "encoded"

    def frames(self, layout: str, rate: int, fade_s: float) -> Iterator[AudioFrame]:
        """Yield the sound, decoded, exact to the sample."""
        if self._two:
            frames = self._both(rate)
        else:
            frames = self._decoded(self._container, self._heard[0], layout, rate)
        # Channels that are mixed are each as loud as before, so that their sum may be too loud.
        frames = filtered(frames, [limiter(1.0)])
        return shaping.faded(frames, self._length(rate), round(fade_s * rate))

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
            stream = container.streams[self._request.audio[1]]
            if not isinstance(stream, AudioStream):
                raise SourceError("The file's right channel is none.")
            yield from shaping.stereo(left, self._decoded(container, stream, "mono", rate))
