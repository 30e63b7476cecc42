"""Plan one output: which part of the source, which filters, which size. Pure."""

from dataclasses import dataclass
from fractions import Fraction

from cutmv.media.errors import COPY_FAILED, MediaError
from cutmv.media.info import AudioStream, MediaInfo, VideoStream
from cutmv.media.products.animations import LADDER, LONGEST_S, Animation
from cutmv.media.products.containers import steady_rate, why_encoded
from cutmv.media.products.loops import looped
from cutmv.media.products.shapes import Part, fading, sampled, shaped, size_of, upright
from cutmv.media.products.spec import ANIMATIONS, SOUNDS, OutputSpec
from cutmv.media.times import Clip
from cutmv.media.tracks import chosen

#: Seconds of a clip in which its best picture is looked for.
BEST_MAX_S = 10
#: Seconds past the end that a clip may name, since people see durations rounded.
END_GRACE_S = Fraction(1, 20)
#: The time limit of a cut: seconds for any, and for each second of 1080p; a slow core needs an
#: eighth of that.
LIMIT_BASE_S, LIMIT_PER_S = 120.0, 24.0
#: Pixels of a 1080p picture.
FULL_HD_PIXELS = 1920 * 1080


@dataclass(frozen=True)
class RenderPlan:
    """How to make one output of one source: from `start` to `end`, in seconds on the file's clock.

    What is shown at `start` is there from the first instant. `filters` bring the decoded pictures
    into the output's shape, which is `width` × `height`; what comes out are `pictures` in
    `length_s` seconds where that is not each of the clip's, none for a still. `reason` says why no
    packets are copied where the shape is the source's. `animation` is how a GIF or WebP is made.
    A plan may be that of one `part` of a film, since when and until when of it (s), which has no
    sound; `sounds` are the tracks of others. What is `joined` is the picture of one clip of a film
    of many.
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
    pictures: int | None
    length_s: Fraction
    reason: str | None
    animation: Animation | None
    part: Part | None
    sounds: tuple[AudioStream, ...] = ()
    joined: bool = False


def plan(
    info: MediaInfo,
    clip: Clip,
    spec: OutputSpec,
    animation: Animation = LADDER[0],
    part: Part | None = None,
) -> RenderPlan:
    """How to make `spec` of `clip`, or a part of it. Raises MediaError when that can't be.

    `animation` is how it is made where it is a GIF or WebP.
    """
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
    sounds = chosen(info, spec.audio)
    if not sounds and spec.kind in SOUNDS:
        raise MediaError("The file has no sound.")
    given = clip.end - clip.start
    _refuse_by_preset(shown, given, spec)
    if not 0 <= 2 * spec.fade_s <= given:
        raise MediaError(f"The clip {shown} is too short to fade for {spec.fade_s:g} s twice.")
    reason = why_encoded(video, spec)
    if reason and spec.exact_copy == "always" and spec.kind == "cutdown":
        raise MediaError(f"{COPY_FAILED}: {reason}.")
    width, height = size_of(video, spec, animation.width)
    used, length, pictures, filters = _filters(
        video,
        given,
        spec,
        (width, height),
        rate=animation.rate,
        part=part or (Fraction(0), given),
    )
    # The start is told rounded to microseconds; on the clock it is a whole tick.
    zero = round(Fraction(info.start_s) / video.time_base) * video.time_base
    return RenderPlan(
        info=info,
        video=video,
        clip=clip,
        spec=spec,
        start=zero + clip.start + (part[0] if part else 0),
        end=zero + clip.start + (part[1] if part else used),
        width=width,
        height=height,
        filters=",".join(filters),
        pictures=pictures,
        length_s=length,
        reason=reason,
        animation=animation if spec.kind in ANIMATIONS else None,
        part=part,
        sounds=sounds,
    )


def _filters(
    video: VideoStream,
    given: Fraction,
    spec: OutputSpec,
    size: tuple[int, int],
    *,
    rate: int,
    part: Part,
) -> tuple[Fraction, Fraction, int | None, list[str]]:
    """Seconds used of a clip of `given`, seconds made, pictures made, and the filters for it."""
    before, shape = upright(video, spec), shaped(video, spec, *size)
    if video.interlaced and part != (
        Fraction(0),
        given,
    ):  # what is next to it made it whole, and is no part
        before += [f"trim=start=0:end={float(part[1] - part[0]):.6f}"]
    if spec.kind == "canvas":
        loop = looped(video, given, spec.loop)
        each, _ = sampled(loop.rate, (Fraction(0), loop.used), "near")
        made = loop.pictures / loop.rate
        return (
            loop.used,
            made,
            loop.pictures,
            [*before, *each, *shape, loop.filters, "format=yuv420p"],
        )
    if spec.kind in ANIMATIONS:
        length = min(given, Fraction(LONGEST_S))
        each, count = sampled(Fraction(rate), (Fraction(0), length), "up")
        return length, length, count, [*before, *each, *shape]
    if spec.kind == "still":
        used = min(given, Fraction(BEST_MAX_S)) if spec.best else given
        return used, Fraction(0), 1, [*before, *shape]
    fades, steady = fading(spec.fade_s, given, part), steady_rate(video, spec)
    length = part[1] - part[0]
    if steady is None:
        return given, length, None, [*before, *shape, *fades]
    each, count = sampled(steady, part, "near")
    return given, length, count, [*before, *each, *shape, *fades]


def _refuse_by_preset(shown: str, given: Fraction, spec: OutputSpec) -> None:
    if spec.longest_s is not None and given > spec.longest_s:
        raise MediaError(
            f"The clip {shown} is {float(given):g} s long, and the preset {spec.preset} takes"
            f" {spec.longest_s:g} s."
        )


def time_limit_s(info: MediaInfo, clip: Clip, spec: OutputSpec) -> float:
    """Seconds after which a cut is stopped: in proportion to its length and its pictures' size."""
    if spec.kind in (*ANIMATIONS, "still"):
        return LIMIT_BASE_S
    pixels = info.video.width * info.video.height if info.video else FULL_HD_PIXELS
    return LIMIT_BASE_S + float(clip.end - clip.start) * LIMIT_PER_S * max(
        1.0, pixels / FULL_HD_PIXELS
    )
