"""Plan one output: which part of the source, which filters, which size. Pure."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from cutmv.media.errors import MediaError
from cutmv.media.info import MediaInfo, VideoStream
from cutmv.media.times import Clip

Kind = Literal["cutdown", "gif", "still"]
Aspect = Literal["16:9", "9:16", "1:1", "source"]
Fit = Literal["crop", "pad"]

#: Width and height in pixels of each shape but the source's own.
SIZES: dict[Aspect, tuple[int, int]] = {
    "16:9": (1280, 720),
    "9:16": (1080, 1920),
    "1:1": (1080, 1080),
}
#: A GIF's width in pixels, its frames a second, and its longest length in seconds.
GIF_WIDTH, GIF_RATE, GIF_MAX_S = 480, 10, 6
#: Seconds past the end that a clip may name, since people see durations rounded.
END_GRACE_S = Fraction(1, 20)
#: The time limit of a cut: seconds for any, and for each second of 1080p; a slow core needs an
#: eighth of that.
LIMIT_BASE_S, LIMIT_PER_S = 120.0, 24.0
#: Pixels of a 1080p picture.
FULL_HD_PIXELS = 1920 * 1080

#: The filters from HDR to the standard range, by way of linear light.
_TONE_MAP = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,"
    "tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
)
#: What the standard range of today's screens is called.
_BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


@dataclass(frozen=True)
class OutputSpec:
    """One kind of output: an MP4 ("cutdown"), a GIF or a JPEG still, in a shape.

    `fit` says how a picture of another shape is made to fit: "crop" fills the frame and loses
    the edges, "pad" shows all of it between black bars.
    """

    kind: Kind
    aspect: Aspect
    fit: Fit


@dataclass(frozen=True)
class RenderPlan:
    """How to make one output of one source: from `start` to `end`, in seconds on the file's clock.

    What is shown at `start` is there from the first instant. `filters` bring a decoded picture into
    the output's shape, which is `width` × `height`.
    """

    info: MediaInfo
    video: VideoStream
    clip: Clip
    spec: OutputSpec
    start: Fraction
    end: Fraction
    width: int
    height: int
    filters: str


def output_extension(kind: Kind) -> str:
    """The file name extension of a kind of output, without its dot."""
    return {"cutdown": "mp4", "gif": "gif", "still": "jpg"}[kind]


def plan(info: MediaInfo, clip: Clip, spec: OutputSpec) -> RenderPlan:
    """How to make `spec` of `clip`. Raises MediaError, in one line, when that can't be."""
    if info.video is None:
        raise MediaError("The file has no picture to cut.")
    video = info.video
    last = info.length
    shown = f"{float(clip.start):g}-{float(clip.end):g}"
    if not 0 <= clip.start < clip.end:
        raise MediaError(f"The clip {shown} is empty: its end must be after its start.")
    if clip.start >= last:
        raise MediaError(f"The clip {shown} starts past the end of the video, {float(last):.3f} s.")
    if clip.end > last + max(END_GRACE_S, 1 / video.frame_rate):
        raise MediaError(f"The clip {shown} ends past the end of the video, {float(last):.3f} s.")
    end = min(clip.end, clip.start + GIF_MAX_S) if spec.kind == "gif" else clip.end
    width, height = _size(video, spec)
    # The start is told rounded to microseconds; on the clock it is a whole tick.
    zero = round(Fraction(info.start_s) / video.time_base) * video.time_base
    return RenderPlan(
        info=info,
        video=video,
        clip=clip,
        spec=spec,
        start=zero + clip.start,
        end=zero + end,
        width=width,
        height=height,
        filters=",".join([_told(video), *_upright(video), *_filters(video, spec, width, height)]),
    )


def time_limit_s(info: MediaInfo, clip: Clip, spec: OutputSpec) -> float:
    """Seconds after which a cut is stopped: in proportion to its length and its pictures' size."""
    if spec.kind != "cutdown":
        return LIMIT_BASE_S
    pixels = info.video.width * info.video.height if info.video else FULL_HD_PIXELS
    return LIMIT_BASE_S + float(clip.end - clip.start) * LIMIT_PER_S * max(
        1.0, pixels / FULL_HD_PIXELS
    )


def _size(video: VideoStream, spec: OutputSpec) -> tuple[int, int]:
    width, height = SIZES.get(spec.aspect, (video.width, video.height))
    if spec.kind == "gif":
        width, height = GIF_WIDTH, round(GIF_WIDTH * height / width)
    # 4:2:0 pictures have even sides.
    return max(2, width - width % 2), max(2, height - height % 2)


def _told(video: VideoStream) -> str:
    """The filter that says which colours a decoded picture has: a pipe carries none of that."""
    primaries, matrix, transfer = (
        video.color_primaries,
        video.color_space,
        video.color_transfer,
    )
    if video.hdr:  # told in part, it is what HDR is made in
        primaries, matrix = primaries or "bt2020", matrix or "bt2020nc"
    told = {
        "range": video.color_range,
        "color_primaries": primaries,
        "color_trc": transfer,
        "colorspace": matrix,
    }
    known = ":".join(f"{name}={value}" for name, value in told.items() if value)
    return f"setparams={known}" if known else "null"


def _upright(video: VideoStream) -> list[str]:
    """The filters that make a decoded picture whole, and turn it as it is shown."""
    whole = [f"setfield={video.interlaced}", "bwdif=mode=send_frame"] if video.interlaced else []
    mirrored = ["hflip"] if video.mirrored else []
    turns = {90: ["transpose=clock"], 180: ["hflip", "vflip"], 270: ["transpose=cclock"]}
    return [*whole, *mirrored, *turns.get(video.rotation, [])]


def _filters(video: VideoStream, spec: OutputSpec, width: int, height: int) -> list[str]:
    filters = [_TONE_MAP] if video.hdr else []
    if video.rgb:  # without this it would become what standard definition has
        filters += ["scale=out_color_matrix=bt709:out_range=limited"]
    levels = f"out_range={'full' if spec.kind == 'still' else 'limited'}"
    if spec.aspect == "source" and spec.kind != "gif":
        square = (video.width, video.height) in (
            (video.coded_width, video.coded_height),
            (video.coded_height, video.coded_width),
        )
        # To crop an odd last line leaves all other pixels as they are.
        filters += [] if square else [f"scale={video.width}:{video.height}"]
        filters += [f"crop={width}:{height}:0:0:exact=1", f"scale={levels}"]
    elif spec.fit == "crop":
        scaled = _covering(video, width, height)
        filters += [f"scale={scaled[0]}:{scaled[1]}:flags=lanczos:{levels}"]
        filters += [f"crop={width}:{height}"]
    else:
        scaled = _inside(video, width, height)
        filters += [f"scale={scaled[0]}:{scaled[1]}:flags=lanczos:{levels}"]
        filters += [f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:black"]
    pixels = {"cutdown": "yuv420p", "gif": "rgb24", "still": "yuvj420p"}[spec.kind]
    # Scaling after the tone mapping drops the matrix, which a player needs to know.
    matrix = ["setparams=colorspace=bt709"] if video.hdr and spec.kind == "cutdown" else []
    if video.rgb and spec.kind == "cutdown":
        matrix = [_BT709]
    return [*filters, "setsar=1", f"format={pixels}", *matrix]


def _covering(video: VideoStream, width: int, height: int) -> tuple[int, int]:
    """The size, of the source's shape, that just covers a frame; even, so rounded up."""
    factor = max(Fraction(width, video.width), Fraction(height, video.height))
    sides = (video.width * factor, video.height * factor)
    return (-int(-sides[0] // 2) * 2, -int(-sides[1] // 2) * 2)


def _inside(video: VideoStream, width: int, height: int) -> tuple[int, int]:
    """The size, of the source's shape, that just fits into a frame; even, so rounded down."""
    factor = min(Fraction(width, video.width), Fraction(height, video.height))
    sides = (video.width * factor, video.height * factor)
    return (max(2, int(sides[0] // 2) * 2), max(2, int(sides[1] // 2) * 2))
