"""The files that outputs are written to: which can hold a source's own packets, and their names."""

from dataclasses import dataclass
from fractions import Fraction

from cutmv.media.info import MediaInfo, VideoStream
from cutmv.media.products.encoders import VP9, X264, Encoder
from cutmv.media.products.loops import rate_of
from cutmv.media.products.shapes import keeps_alpha
from cutmv.media.products.spec import SOUNDS, OutputSpec
from cutmv.media.tracks import chosen

#: Codecs whose every packet is a whole picture, that QuickTime files hold; by FFmpeg's names.
_OF_QUICKTIME = {
    "prores", "dnxhd", "mjpeg", "cfhd", "png", "jpeg2000", "v210", "r210", "dvvideo", "hap",
    "magicyuv",
}  # fmt: skip
#: Those whose pictures are shown in the order of their packets: AVI tells no other.
_IN_ORDER = _OF_QUICKTIME | {"ffv1"}


@dataclass(frozen=True)
class Container:
    """A kind of film file: its muxer, by FFmpeg's name, and the codecs of which it holds packets.

    `encoder` is what encodes a picture.
    """

    muxer: str
    pictures: frozenset[str]
    encoder: Encoder


#: By the extension of a file's name; the first that holds a source's packets is taken.
CONTAINERS = {
    "mp4": Container("mp4", frozenset({"h264", "hevc", "av1", "vp9", "mpeg2video"}), X264),
    "mov": Container(
        "mov", frozenset({"h264", "hevc", "mpeg2video", "qtrle", *_OF_QUICKTIME}), X264
    ),
    "webm": Container("webm", frozenset({"vp8", "vp9", "av1"}), VP9),
    "mkv": Container("matroska", frozenset({"vp9", "av1", "ffv1"}), X264),
}
#: The extensions of kinds that are not named by theirs.
_EXTENSIONS: dict[str, str] = {"canvas": "mp4", "still": "jpg"}


def output_extension(info: MediaInfo, spec: OutputSpec) -> str:
    """The file name extension of an output, without its dot.

    A film that may hold the source's packets is what holds them, picture and sound.
    """
    video, sounds = info.video, {each.codec for each in chosen(info, spec.audio)}
    if spec.kind == "still" and video is not None and keeps_alpha(video, spec):
        return "png"
    if spec.kind != "cutdown":
        return _EXTENSIONS.get(spec.kind, spec.kind)
    told = info.container != "avi" or (video is not None and video.codec in _IN_ORDER)
    if video is None or not told or why_encoded(video, spec):
        return "mp4"
    # Sound that is not compressed has no place in MP4 and WebM; what is made for WebM stays there.
    names = ["mov", "mkv"] if any(each.startswith("pcm_") for each in sounds) else list(CONTAINERS)
    if info.container == "matroska" and (sounds & {"opus", "vorbis"} or _alpha_beside(video)):
        names.insert(0, "webm")
    return next((each for each in names if video.codec in CONTAINERS[each].pictures), "mp4")


def container_named(extension: str) -> Container:
    """The kind of film that an extension stands for."""
    return CONTAINERS.get(extension.removeprefix(".").lower(), CONTAINERS["mp4"])


def why_not_held(video: VideoStream, container: Container) -> str | None:
    """Why a film of a kind does not hold packets of a picture; none where it does."""
    if video.codec not in container.pictures:
        return f"its codec, {video.codec}, is not one that we copy into a film of this kind"
    if _alpha_beside(video) and container.muxer not in ("webm", "matroska"):
        return "how transparent it is has no place in a film of this kind"
    return None


def _alpha_beside(video: VideoStream) -> bool:
    """Whether it stands beside the packets of a picture how transparent it is."""
    return video.transparent and video.codec in ("vp8", "vp9")


def why_encoded(video: VideoStream, spec: OutputSpec) -> str | None:
    """Why no packets are copied, where that follows from what is asked for."""
    if spec.loudness and spec.kind in SOUNDS:
        return "its loudness is changed"
    if spec.kind in SOUNDS:
        return "the sound fades" if spec.fade_s else None
    if spec.kind != "cutdown":
        return None
    if spec.aspect != "source" or spec.size is not None:
        return "its shape is not the source's"
    if video.inside:
        return "its black bars are removed"
    if spec.fade_s:
        return "the picture fades"
    if steady_rate(video, spec) is not None:
        return f"it has at most {spec.fastest} frames a second"
    return "that was asked for" if spec.exact_copy == "never" else None


def steady_rate(video: VideoStream, spec: OutputSpec) -> Fraction | None:
    """Pictures a second where each is not to keep its own time, else none."""
    if spec.fastest is not None and video.frame_rate > spec.fastest:
        return (
            Fraction(spec.fastest)
            if video.variable
            else video.frame_rate / -(-video.frame_rate // spec.fastest)
        )
    # A picture that is held fades, too.
    return rate_of(video) if spec.fade_s and video.variable else None
