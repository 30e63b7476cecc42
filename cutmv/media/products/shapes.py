"""The filters that bring a decoded picture into an output's shape and colours."""

from fractions import Fraction

from cutmv.media.info import VideoStream
from cutmv.media.products.spec import ANIMATIONS, FILMS, SIZES, OutputSpec

#: Since when, and until when of a clip, in seconds from its start.
Part = tuple[Fraction, Fraction]

#: How often the picture behind a picture is smaller when it is blurred, by how much it is blurred
#: then, in pixels, and what part of its light is left.
BEHIND_SMALLER, BEHIND_BLUR, BEHIND_LIGHT = 8, 6, 0.5

#: The filters from HDR to the standard range, by way of linear light.
_TONE_MAP = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,"
    "tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
)
#: FFmpeg's names of the pixels of what is no film, by its kind and whether it is transparent.
_PIXELS = {
    ("gif", False): "rgb24", ("gif", True): "rgba",
    ("webp", True): "yuva420p",
    ("still", False): "yuvj420p", ("still", True): "rgba",
}  # fmt: skip
#: What the standard range of today's screens is called.
_BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


def size_of(video: VideoStream, spec: OutputSpec, animated: int) -> tuple[int, int]:
    """The width and height of an output in pixels, both even, as 4:2:0 pictures have them.

    `animated` is the width of one that is an animation.
    """
    width, height = spec.size or SIZES.get(spec.aspect, (video.width, video.height))
    if spec.kind in ANIMATIONS:
        width, height = animated, round(animated * height / width)
    return max(2, width - width % 2), max(2, height - height % 2)


def upright(video: VideoStream, spec: OutputSpec) -> list[str]:
    """The filters that make a decoded picture whole, without bars, and turn it as it is shown."""
    whole = [f"setfield={video.interlaced}", "bwdif=mode=send_frame"] if video.interlaced else []
    mirrored = ["hflip"] if video.mirrored else []
    turns = {90: ["transpose=clock"], 180: ["hflip", "vflip"], 270: ["transpose=cclock"]}
    if video.inside:
        left, top, width, height = video.inside
        whole += [f"crop={width}:{height}:{left}:{top}"]
    # What is transparent is shown before black, or no part of what is scaled.
    blended = ["premultiply=inplace=1"] if video.alpha else []
    return [_told(video, spec), *blended, *whole, *mirrored, *turns.get(video.rotation, [])]


def shaped(video: VideoStream, spec: OutputSpec, width: int, height: int) -> list[str]:
    """The filters that bring an upright picture into the output's shape and pixel format."""
    filters = [_TONE_MAP] if video.hdr else []
    if video.rgb:  # without this it would become what standard definition has
        filters += ["scale=out_color_matrix=bt709:out_range=limited"]
    film = spec.kind in FILMS
    # JPEG (JFIF) and WebP have one matrix, and a range each.
    levels = f"out_range={'full' if spec.kind == 'still' else 'limited'}"
    levels += ":out_color_matrix=bt601" if spec.kind in ("still", "webp") else ""
    if spec.aspect == "source" and spec.size is None and spec.kind not in ANIMATIONS:
        square = (video.width, video.height) in (
            (video.coded_width, video.coded_height),
            (video.coded_height, video.coded_width),
        )
        # To crop an odd last line leaves all other pixels as they are.
        filters += [] if square else [f"scale={video.width}:{video.height}"]
        filters += [f"crop={width}:{height}:0:0:exact=1", f"scale={levels}"]
    elif spec.fit == "crop":
        kept, filled = _cropped(video, spec.centre, width, height, f"flags=lanczos:{levels}")
        filters = [*kept, *filters, *filled]
    elif spec.fit == "pad":
        filters += [_scaled(_inside(video, width, height), f"flags=lanczos:{levels}")]
        filters += [f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:black"]
    else:
        filters += [_before_blur(video, width, height)]
        filters += [f"scale={levels}"] if spec.kind in ("still", "webp") else []
    transparent = keeps_alpha(video, spec)
    pixels = _PIXELS.get((spec.kind, transparent), "yuv420p")
    filters += ["unpremultiply=inplace=1"] if transparent else []
    # Scaling after the tone mapping drops the matrix, which a player needs to know.
    matrix = ["setparams=colorspace=bt709"] if video.hdr and film else []
    if video.rgb and film:
        matrix = [_BT709]
    return [*filters, "setsar=1", f"format={pixels}", *matrix]


def keeps_alpha(video: VideoStream, spec: OutputSpec) -> bool:
    """Whether an output that is no film is as transparent as its source."""
    blurred = spec.fit == "blur" and spec.aspect != "source"
    kinds = (*ANIMATIONS, "still")
    return spec.kind in kinds and video.alpha and not blurred and not video.hdr


def fading(fade_s: float, length_s: Fraction, part: Part) -> list[str]:
    """The filters by which a clip of so many seconds comes out of black and goes into it.

    They are for a part of it, which has all or nothing of either.
    """
    since, until = part
    fades = []
    if fade_s and since == 0:
        fades += [f"fade=t=in:st=0:d={fade_s:.6f}"]
    if fade_s and until == length_s:
        out = float(length_s - since) - fade_s
        fades += [f"fade=t=out:st={out:.6f}:d={fade_s:.6f}"]
    return fades


def sampled(rate: Fraction, part: Part, rounding: str) -> tuple[list[str], int]:
    """The filters by which there are so many pictures a second, and how many there are then.

    A part has those that it has of the whole.
    """
    since, until = part
    count = max(1, round(until * rate)) - round(since * rate)
    held = "tpad=stop=-1:stop_mode=clone"
    return [f"fps={rate}:round={rounding}", held, f"trim=end_frame={count}"], count


def assumes_matrix(video: VideoStream, spec: OutputSpec) -> bool:
    """Whether a picture that does not tell its colours is taken to have those usual for its size.

    A film of the same size tells its players no more than the source does. Of another size it would
    be taken to have other colours, and a JPEG or a GIF has to be right.
    """
    same = spec.kind in FILMS and spec.aspect == "source" and spec.size is None
    return not same and not video.rgb and video.color_space in (None, "unknown")


def _told(video: VideoStream, spec: OutputSpec) -> str:
    """The filter that says which colours a decoded picture has: a pipe carries none of that."""
    primaries, matrix, transfer = (
        video.color_primaries,
        video.color_space,
        video.color_transfer,
    )
    if video.hdr:  # told in part, it is what HDR is made in
        primaries, matrix = primaries or "bt2020", matrix or "bt2020nc"
    elif assumes_matrix(video, spec):
        matrix = video.assumed_matrix
    told = {
        "range": video.color_range,
        "color_primaries": primaries,
        "color_trc": transfer,
        "colorspace": matrix,
    }
    known = ":".join(f"{name}={value}" for name, value in told.items() if value)
    return f"setparams={known}" if known else "null"


def _before_blur(video: VideoStream, width: int, height: int) -> str:
    """The picture, whole, before its own enlargement, which is blurred and darkened."""
    small = [max(2, side // BEHIND_SMALLER // 2 * 2) for side in (width, height)]
    kept, filled = _cropped(
        video, (0.5, 0.5), small[0], small[1], "flags=bilinear:out_range=limited"
    )
    behind = [
        *kept,
        *filled,
        f"gblur=sigma={BEHIND_BLUR}",
        "format=yuv420p",
        f"lutyuv=y=16+(val-16)*{BEHIND_LIGHT}",
        _scaled((width, height), "flags=bicubic:out_range=limited"),
        "setsar=1",
    ]
    front = [
        _scaled(_inside(video, width, height), "flags=lanczos:out_range=limited"),
        "format=yuv420p",
        "setsar=1",
    ]
    return (
        f"split[whole][enlarged];[enlarged]{','.join(behind)}[behind];[whole]{','.join(front)}"
        "[front];[behind][front]overlay=(W-w)/2:(H-h)/2:format=yuv420"
    )


def _cropped(
    video: VideoStream, centre: tuple[float, float], width: int, height: int, how: str
) -> tuple[list[str], list[str]]:
    """The filters that fill a frame; its middle is the centre, as far as there is a picture.

    The first crop away what is not kept, before all that costs something is done to the rest; a
    pixel or two more stay at the edges, since the source has its colours by twos. The others scale
    what is kept into the frame.
    """
    whole, wide = (video.width, video.height), _covering(video, width, height)
    crop, size, rest = [0, 0, 0, 0], [0, 0], [0, 0]
    for axis, kept in ((0, width), (1, height)):
        factor = Fraction(wide[axis], whole[axis])
        first = round(wide[axis] * centre[axis] - kept / 2)
        first = min(max(0, first), wide[axis] - kept)
        begin = int(first / factor / 2) * 2
        end = min(whole[axis], -int(-(first + kept) / factor // 2) * 2)
        size[axis] = max(kept, -int(-(end - begin) * factor // 2) * 2)
        rest[axis] = min(max(0, round(first - begin * factor)), size[axis] - kept)
        crop[axis], crop[axis + 2] = end - begin, begin
    before = [] if (crop[0], crop[1]) == whole else ["crop={}:{}:{}:{}:exact=1".format(*crop)]
    after = [] if size == [width, height] else [f"crop={width}:{height}:{rest[0]}:{rest[1]}"]
    return before, [_scaled((size[0], size[1]), how), *after]


def _scaled(size: tuple[int, int], how: str) -> str:
    return f"scale={size[0]}:{size[1]}:{how}"


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
