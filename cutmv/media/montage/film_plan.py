"""Plan one film of many clips: how each one's picture is made. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cutmv.media.errors import MediaError
from cutmv.media.info import AudioStream, MediaInfo
from cutmv.media.plan import RenderPlan, plan, time_limit_s
from cutmv.media.products.spec import OutputSpec
from cutmv.media.times import Clip

#: Clips of one film at most.
MOST_CLIPS = 500


@dataclass(frozen=True)
class FilmClip:
    """A clip of a film, of a source by its place. Its chapter has its label, or else its text."""

    clip: Clip
    label: str = ""
    text: str = ""
    source: int = 0


@dataclass(frozen=True)
class FilmPlan:
    """A film of many clips: how each one's picture is made, by itself.

    `sounds` are the tracks of each source. `limit_s` is its time limit in seconds.
    """

    infos: tuple[MediaInfo, ...]
    spec: OutputSpec
    clips: tuple[FilmClip, ...]
    pieces: tuple[RenderPlan, ...]
    sounds: tuple[tuple[AudioStream, ...], ...]
    limit_s: float

    @property
    def length_s(self) -> float:
        """How long it is, in seconds."""
        return float(sum(each.length_s for each in self.pieces))

    @property
    def first(self) -> int:
        """The place of the source of its first clip, which the others follow."""
        return self.clips[0].source


def plan_film(infos: Sequence[MediaInfo], clips: Sequence[FilmClip], spec: OutputSpec) -> FilmPlan:
    """How to make one film of clips, in their order. Raises MediaError when that can't be."""
    if spec.kind != "cutdown":
        raise MediaError(f"Clips are joined into films, and {spec.named} is none.")
    if spec.fade_s:
        raise MediaError("A film of many clips can't fade: leave out the fade, or the joining.")
    if not 1 <= len(clips) <= MOST_CLIPS:
        raise MediaError(f"A film has 1 to {MOST_CLIPS} clips.")
    length = sum(each.clip.end - each.clip.start for each in clips)
    if spec.longest_s is not None and length > spec.longest_s:
        raise MediaError(
            f"The film is {float(length):g} s long, and the preset {spec.preset} takes"
            f" {spec.longest_s:g} s."
        )
    plans = [plan(infos[each.source], each.clip, replace(spec, loudness=None)) for each in clips]
    sounds = {each.source: planned.sounds for each, planned in zip(clips, plans, strict=True)}
    return FilmPlan(
        tuple(infos),
        spec,
        tuple(clips),
        tuple(replace(each, sounds=(), joined=True) for each in plans),
        tuple(sounds.get(place, ()) for place in range(len(infos))),
        sum(time_limit_s(infos[each.source], each.clip, spec) for each in clips),
    )
