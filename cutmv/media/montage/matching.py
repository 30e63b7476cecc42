"""How pictures of several sources can follow one another in one film. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from cutmv.media.info import VideoStream
from cutmv.media.montage.film_plan import FilmClip, FilmPlan
from cutmv.media.plan import RenderPlan, plan
from cutmv.media.products.containers import why_encoded
from cutmv.media.products.shapes import size_of

#: Formats of pixels that others are brought to.
FORMATS = frozenset(
    f"yuv{kind}p{depth}" for kind in ("420", "422", "444") for depth in ("", "10le")
)
#: The coarsest clock (s) that holds the times of another's pictures.
COARSEST_S = Fraction(1, 500)


@dataclass(frozen=True)
class Way:
    """How each clip's picture is made: its plan, and whether it is encoded like the first's.

    What these are like is the picture of the first clip's source, or with `of_made` what was made
    of the first clip.
    """

    pieces: tuple[RenderPlan, ...]
    alike: tuple[bool, ...]
    of_made: bool = False


def ways(film: FilmPlan) -> Iterator[Way]:
    """The ways to make a film's pictures, each for where the one before turns out not to do.

    Copied wherever a source's picture agrees with that of the first clip's; else all of other
    sources are encoded to match; else all are encoded.
    """
    first = film.pieces[0].video
    others = [each.source != film.first for each in film.clips]
    if not any(others):
        yield Way(film.pieces, tuple(others))
    elif why_encoded(first, film.spec) is None:
        differing = [
            different and difference(first, piece.video) is not None
            for different, piece in zip(others, film.pieces, strict=True)
        ]
        matched = film.spec.exact_copy != "always" and _plain(first)
        if matched or not any(differing):
            yield _way(film, differing)
        if matched and differing != others:
            yield _way(film, others)
    if film.spec.exact_copy != "always":
        # What hardware makes differs from one clip to another.
        spec = replace(film.spec, exact_copy="never", loudness=None, encoded_by="software")
        pieces = [
            _matched(film, clip, True)
            if other
            else replace(plan(piece.info, piece.clip, spec), sounds=(), joined=True)
            for clip, other, piece in zip(film.clips, others, film.pieces, strict=True)
        ]
        yield Way(tuple(pieces), tuple(others), of_made=True)


def difference(first: VideoStream, other: VideoStream) -> str | None:
    """What of another picture is not as in the first, so that its packets can't follow; or none."""
    compared = {
        "codec": [each.codec for each in (other, first)],
        "size": [f"{each.coded_width}×{each.coded_height}" for each in (other, first)],
        "shape of pixels": [f"{each.width}×{each.height}" for each in (other, first)],
        "format": [each.pix_fmt for each in (other, first)],
        "rotation": [f"{each.rotation}°{' mirrored' * each.mirrored}" for each in (other, first)],
        "field order": [each.interlaced or "progressive" for each in (other, first)],
        "transparency": ["yes" if each.transparent else "no" for each in (other, first)],
        "colour": [_colour(each) for each in (other, first)],
    }
    return next(
        (f"its {what} is {its}, not {wanted}" for what, (its, wanted) in compared.items()
         if its != wanted),
        None,
    )  # fmt: skip


def _colour(video: VideoStream) -> str:
    told = (video.color_space, video.color_primaries, video.color_transfer)
    return "/".join(each or "untold" for each in (*told, video.color_range or "tv"))


def _plain(video: VideoStream) -> bool:
    """Whether pictures can be encoded like this one, by what we know of it."""
    return (
        not (video.rotation or video.mirrored or video.interlaced or video.hdr or video.transparent)
        and (video.width, video.height) == (video.coded_width, video.coded_height)
        and video.width % 2 == video.height % 2 == 0
        and video.pix_fmt in FORMATS
        and video.time_base <= COARSEST_S
    )


def _way(film: FilmPlan, alike: list[bool]) -> Way:
    pieces = [
        _matched(film, clip, False) if matched else piece
        for clip, matched, piece in zip(film.clips, alike, film.pieces, strict=True)
    ]
    return Way(tuple(pieces), tuple(alike))


def _matched(film: FilmPlan, clip: FilmClip, of_made: bool) -> RenderPlan:
    """The plan of a clip whose pictures are brought to those of the first clip."""
    first, spec = film.pieces[0].video, film.spec
    size = size_of(first, spec, 0)
    wanted = replace(spec, exact_copy="never", loudness=None, encoded_by="software", size=size)
    planned = plan(film.infos[clip.source], clip.clip, wanted)
    made = of_made and (first.hdr or first.rgb)
    matrix = "bt709" if made else first.color_space or first.assumed_matrix
    matrix = {"bt2020nc": "bt2020"}.get(matrix, matrix)
    full = "full" if first.color_range == "pc" and not of_made else "limited"
    pixels = "yuv420p" if of_made else first.pix_fmt
    filters = f"{planned.filters},scale=out_color_matrix={matrix}:out_range={full},format={pixels}"
    return replace(planned, filters=filters, sounds=(), joined=True)
