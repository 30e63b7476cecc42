"""What is in a video file."""

from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any, Self

from cutmv.media.times import FileTimes

#: Lines of a picture from which on its colours, when untold, are those of high definition.
HD_LINES, HD_COLUMNS = 720, 1280
#: How FFmpeg's names of pixel formats with an alpha channel begin.
ALPHA_FORMATS = ("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya")


@dataclass(frozen=True)
class VideoStream:
    """The picture. `width` and `height` are as shown: pixels made square, rotation applied.

    `rotation` is in degrees clockwise, after the picture is mirrored from left to right if it is
    `mirrored`; `interlaced` says which field is shown first, "tff" or "bff", if there are two.
    `time_base` is the length in seconds of one tick of the container's clock; `variable` says that
    frames are not evenly spaced, and `frame_rate` is then their average. `start_s` and `duration_s`
    are on the file's own clock, in seconds. `inside` is what is left of the decoded picture where
    its black bars are removed: left, top, width, height; the other sizes are of that then. A
    `transparent` picture has an alpha channel. `quantizer` is the mean of a few pictures, on the
    scale of H.264, where their decoder tells it; earlier versions did not note it.
    """

    index: int
    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int
    frame_rate: Fraction
    variable: bool
    time_base: Fraction
    start_s: float
    duration_s: float
    pix_fmt: str
    color_range: str | None
    color_primaries: str | None
    color_transfer: str | None
    color_space: str | None
    mirrored: bool = False
    interlaced: str | None = None
    inside: tuple[int, int, int, int] | None = None
    transparent: bool = False
    quantizer: float | None = None

    def without_bars(self, inside: tuple[int, int, int, int]) -> Self:
        """This picture where its black bars are removed."""
        _, _, width, height = inside
        turned = self.rotation % 180
        across = self.height if turned else self.width
        shown = (round(width * Fraction(across, self.coded_width)), height)
        return replace(
            self,
            inside=inside,
            coded_width=width,
            coded_height=height,
            width=shown[1] if turned else shown[0],
            height=shown[0] if turned else shown[1],
        )

    @property
    def alpha(self) -> bool:
        """Whether pictures are decoded with their alpha channel."""
        return self.transparent and self.pix_fmt.startswith(ALPHA_FORMATS)

    @property
    def hdr(self) -> bool:
        """Whether the picture must be tone-mapped for an ordinary screen (PQ or HLG)."""
        return self.color_transfer in ("smpte2084", "arib-std-b67")

    @property
    def assumed_matrix(self) -> str:
        """The matrix of its colours where it tells none: what its size is usually made in."""
        short, long = sorted((self.width, self.height))
        return "bt709" if short >= HD_LINES or long >= HD_COLUMNS else "smpte170m"

    @property
    def rgb(self) -> bool:
        """Whether the picture is made of red, green and blue, and not of luma and chroma."""
        return self.pix_fmt.startswith(("gbr", "rgb", "bgr", "argb", "abgr"))


@dataclass(frozen=True)
class AudioStream:
    """A track of sound; `sample_rate` in hertz.

    `right` is the track of the right channel, if two are.
    """

    index: int
    codec: str
    channels: int
    sample_rate: int
    right: int | None = None
    language: str | None = None


@dataclass(frozen=True)
class MediaInfo:
    """A file: its container by FFmpeg's name, its first picture and sound.

    `start_s` is the file's earliest timestamp that is not negative (in a transport stream and in
    AVI, the first picture's); times that people give count from it. `timecode` is that of the first
    frame, if the file tells one. `audio` is what a player plays of the tracks `sounds`, or two of
    these that are left and right. With `unknown_sound` nothing here decodes any of its sound.
    """

    container: str
    size_bytes: int
    duration_s: float
    start_s: float
    video: VideoStream | None
    audio: AudioStream | None
    timecode: str | None = None
    sounds: tuple[AudioStream, ...] = ()
    unknown_sound: bool = False

    @property
    def length(self) -> Fraction:
        """Seconds from the file's start to its end, or to the picture's if that is later."""
        whole = Fraction(self.duration_s)
        if self.video is None:
            return whole
        video = self.video
        return max(
            whole, Fraction(video.start_s) + Fraction(video.duration_s) - Fraction(self.start_s)
        )

    @property
    def times(self) -> FileTimes:
        """What the times that people give of this file are told by."""
        rate = self.video.frame_rate if self.video else None
        return FileTimes(self.length, rate, self.timecode)

    def to_dict(self) -> dict[str, Any]:
        """This as JSON has it; fractions as "NUMERATOR/DENOMINATOR"."""
        plain = asdict(self)
        if self.video:
            plain["video"]["frame_rate"] = _text(self.video.frame_rate)
            plain["video"]["time_base"] = _text(self.video.time_base)
        return plain

    @classmethod
    def tells_all(cls, plain: dict[str, Any]) -> bool:
        """Whether what `to_dict` made is this version's: an earlier one's tells less."""
        every: list[tuple[Any, list[Any]]] = [
            (cls, [plain]),
            (VideoStream, [plain["video"]]),
            (AudioStream, [plain["audio"], *plain.get("sounds", ())]),
        ]
        return all(
            each is None or each.keys() >= {field.name for field in fields(kind)}
            for kind, told in every
            for each in told
        )

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; what an earlier version did not tell has its default.

        What a later version has told beside it is left out. Raises ValueError, TypeError, KeyError,
        AttributeError, ZeroDivisionError for what no version has made.
        """
        video, audio = plain["video"], plain["audio"]
        if video:
            fractions = {name: Fraction(video[name]) for name in ("frame_rate", "time_base")}
            video = VideoStream(**_known(VideoStream, {**video, **fractions}))
        tracks = [AudioStream(**_known(AudioStream, each)) for each in plain.get("sounds", ())]
        audio = AudioStream(**_known(AudioStream, audio)) if audio else None
        told = {"video": video, "audio": audio, "sounds": tuple(tracks)}
        return cls(**_known(cls, {**plain, **told}))


def _known(kind: Any, plain: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in plain.items() if name in names}


def _text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
