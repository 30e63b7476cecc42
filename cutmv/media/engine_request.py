"""What the engine is asked for: the output of a plan."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from cutmv.media.engine.protocol import Copying, Like, Output
from cutmv.media.errors import COPY_FAILED, MediaError
from cutmv.media.plan import RenderPlan
from cutmv.media.products.containers import (
    Container,
    container_named,
    output_extension,
    steady_rate,
    why_not_held,
)
from cutmv.media.products.encoders import X264, Encoder
from cutmv.media.products.loops import rate_of
from cutmv.media.products.quality import quality_of
from cutmv.media.products.shapes import keeps_alpha
from cutmv.media.products.spec import LUFS, SOUNDS

#: How a still is encoded.
JPEG = ("-frames:v", "1", "-c:v", "mjpeg", "-q:v", "2", "-f", "mjpeg")
PNG = ("-frames:v", "1", "-c:v", "png", "-f", "image2pipe")
#: The filters by which a transparent picture becomes that of a JPEG.
BEFORE_BLACK = "premultiply=inplace=1,scale=out_range=full:out_color_matrix=bt601,format=yuvj420p"
#: How a picture is encoded that is encoded again like another: so that nothing of it is lost.
BEFORE_LIKE = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "6", "-f", "nut")
#: The quality of a WebP, of 100.
WEBP_QUALITY = 75


def tracks_of(plan: RenderPlan) -> tuple[tuple[int, ...], ...]:
    """The indices of the streams of each track that is heard: one, or a left and a right."""
    return tuple(
        (each.index,) if each.right is None else (each.index, each.right) for each in plan.sounds
    )


def output_of(
    plan: RenderPlan, path: Path, by: Encoder | None = None, like: Like | None = None
) -> Output:
    """What the engine is asked to write at `path`. Raises MediaError for what can't be.

    What is encoded whole is encoded `by` its container's encoder, unless another is named, or
    `like` another picture.
    """
    if plan.spec.kind in SOUNDS:
        return replace(_heard(plan, path), alone=plan.spec.kind)
    if plan.spec.kind == "still":
        filters, encoder = plan.filters, PNG if path.suffix == ".png" else JPEG
        if encoder is JPEG and keeps_alpha(plan.video, plan.spec):
            filters += f",{BEFORE_BLACK}"
        return Output(str(path), filters, encoder, pictures=1, sharpest=plan.spec.best)
    if plan.spec.kind == "webp":
        arguments = ["-c:v", "libwebp_anim", "-quality", str(WEBP_QUALITY), "-loop", "0"]
        return Output(str(path), plan.filters, (*arguments, "-f", "webp"))
    if plan.animation:
        colours = plan.animation.colours
        # One palette for the whole clip, weighted by what moves.
        filters = (
            f"{plan.filters},split[a][b];[a]palettegen=stats_mode=diff:max_colors={colours}[p];"
            "[b][p]paletteuse=dither=bayer:bayer_scale=5"
        )
        arguments = ["-loop", "0", "-f", "gif"]
        return Output(str(path), filters, tuple(arguments), pictures=plan.pictures)
    spec, container = plan.spec, container_named(path.suffix)
    encoding = by or container.encoder
    crf = quality_of(plan.info, plan.video, spec).crf
    silent = spec.kind == "canvas" or plan.part is not None or plan.joined
    return replace(
        _heard(plan, path),
        filters=",".join(filter(None, (plan.filters, encoding.filters))),
        arguments=BEFORE_LIKE
        if like
        else (*encoding.arguments(crf, _rate(plan)), *_bounded(spec.bit_rate), "-f", "nut"),
        muxer=container.muxer,
        copying=_copying(plan, container),
        pictures=plan.pictures,
        length_s=float(plan.length_s) if spec.kind == "canvas" else None,
        silent=silent,
        with_texts=not silent and spec.aspect == "source",
        joined=plan.joined,
        like=like,
        neighbours=_neighbours(plan),
    )


def may_copy(plan: RenderPlan) -> bool:
    """Whether the source's own packets may be in an output."""
    container = container_named(output_extension(plan.info, plan.spec))
    return plan.spec.kind == "cutdown" and reason_of(plan, container) is None


def _neighbours(plan: RenderPlan) -> tuple[bool, bool]:
    """Whether pictures next to a part are looked at: where it has fields, and is in the clip."""
    if plan.part is None or not plan.video.interlaced:
        return False, False
    since, until = plan.part
    return since > 0, until < plan.clip.end - plan.clip.start


def why_by_software(plan: RenderPlan, path: Path) -> str | None:
    """Why a film can't be encoded by hardware, whatever there is, as the end of a sentence."""
    if container_named(path.suffix).encoder is not X264:
        return "films of this kind have no hardware encoder"
    if plan.spec.bit_rate is not None:
        return "hardware at a constant quality does not bound the bits a second"
    return None


def _heard(plan: RenderPlan, path: Path) -> Output:
    """What is heard of an output."""
    loudness = plan.spec.loudness
    lufs = LUFS[loudness] if loudness else None
    told = Output(str(path), "", (), fade_s=plan.spec.fade_s, loudness=lufs)
    return replace(told, hertz=plan.spec.hertz)


def _rate(plan: RenderPlan) -> Fraction:
    """Pictures a second of a film, about."""
    if plan.spec.kind == "canvas":
        return rate_of(plan.video)
    return steady_rate(plan.video, plan.spec) or plan.video.frame_rate


def _bounded(bit_rate: int | None) -> tuple[str, ...]:
    """The encoder's options by which a picture has so many bits a second at most."""
    if bit_rate is None:
        return ()
    return ("-maxrate", str(bit_rate), "-bufsize", str(bit_rate))


def _copying(plan: RenderPlan, container: Container) -> Copying:
    """Whether packets are copied into a film. Raises MediaError: they must be, and can't."""
    reason = reason_of(plan, container)
    if reason and plan.spec.exact_copy == "always" and plan.spec.kind == "cutdown":
        raise MediaError(f"{COPY_FAILED}: {reason}.")
    return "never" if reason or plan.spec.kind != "cutdown" else plan.spec.exact_copy


def reason_of(plan: RenderPlan, container: Container) -> str | None:
    """Why no packets are copied, where that is known before the engine looks at them."""
    if plan.reason or plan.spec.kind != "cutdown":
        return plan.reason
    return why_not_held(plan.video, container)
