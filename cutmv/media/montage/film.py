"""Makes one film of many clips."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cutmv.media.engine.outputs.montage.request import Montage, Piece
from cutmv.media.engine_request import tracks_of
from cutmv.media.errors import MediaError, Unjoinable
from cutmv.media.info import AudioStream, MediaInfo
from cutmv.media.plan import RenderPlan, plan, time_limit_s
from cutmv.media.products.containers import container_named
from cutmv.media.products.spec import LUFS, OutputSpec
from cutmv.media.progress import Progress
from cutmv.media.remote.cache import Cache
from cutmv.media.render import Rendered, render
from cutmv.media.running.engine_process import join as join_pieces
from cutmv.media.running.files import appear
from cutmv.media.source import readable
from cutmv.media.times import Clip

#: The part of the work that is the cutting of the clips; the rest joins them.
CUTTING = 0.95
#: Clips of one film at most.
MOST_CLIPS = 500


@dataclass(frozen=True)
class FilmPlan:
    """A film of many clips: how each one's picture is made, and the tracks of its sound.

    `limit_s` is its time limit in seconds.
    """

    info: MediaInfo
    spec: OutputSpec
    pieces: tuple[RenderPlan, ...]
    sounds: tuple[AudioStream, ...]
    limit_s: float

    @property
    def length_s(self) -> float:
        """How long it is, in seconds."""
        return float(sum(each.length_s for each in self.pieces))


def plan_film(info: MediaInfo, clips: Sequence[Clip], spec: OutputSpec) -> FilmPlan:
    """How to make one film of clips, in their order. Raises MediaError when that can't be."""
    if spec.kind != "cutdown":
        raise MediaError(f"Clips are joined into films, and {spec.named} is none.")
    if spec.fade_s:
        raise MediaError("A film of many clips can't fade: leave out the fade, or the joining.")
    if not 1 <= len(clips) <= MOST_CLIPS:
        raise MediaError(f"A film has 1 to {MOST_CLIPS} clips.")
    length = sum(clip.end - clip.start for clip in clips)
    if spec.longest_s is not None and length > spec.longest_s:
        raise MediaError(
            f"The film is {float(length):g} s long, and the preset {spec.preset} takes"
            f" {spec.longest_s:g} s."
        )
    plans = [plan(info, clip, replace(spec, loudness=None)) for clip in clips]
    return FilmPlan(
        info,
        spec,
        tuple(replace(each, sounds=(), joined=True) for each in plans),
        plans[0].sounds,
        sum(time_limit_s(info, clip, spec) for clip in clips),
    )


def join(
    source: str | Path,
    film: FilmPlan,
    destination: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    cancelled: Callable[[], bool] | None = None,
    overwrite: bool = True,
    cache: Cache | None = None,
) -> Rendered:
    """Make one film of many clips, which appears whole or not at all. Raises as `render` does.

    Whole groups of pictures are copied, as in each clip. Where the clips' pictures can't follow one
    another so, all of them are encoded.
    """
    run = _Run(source, film, on_progress, cancelled, cache)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as own:
        made = Path(own, f"made{destination.suffix}")
        try:
            rendered = run.make(made, film.pieces)
        except Unjoinable:
            if film.spec.exact_copy == "always":
                raise
            encoded = replace(film.spec, exact_copy="never", loudness=None, encoded_by="software")
            pieces = [
                replace(plan(film.info, each.clip, encoded), sounds=(), joined=True)
                for each in film.pieces
            ]
            rendered = run.make(made, pieces)
            reason, told = "its clips' pictures can't follow one another", rendered.warnings
            if film.spec.encoded_by == "hardware":
                told += (f"The picture was encoded by software: {reason} as hardware made them.",)
            rendered = replace(rendered, reason=reason, warnings=told)
        if overwrite:
            made.replace(destination)
        else:
            appear(made, destination)
    on_progress(Progress(100.0, None, None, 0.0, rendered.duration_s, rendered.frames))
    return rendered


class _Run:
    def __init__(
        self,
        source: str | Path,
        film: FilmPlan,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool] | None,
        cache: Cache | None,
    ) -> None:
        self._source, self._film, self._on_progress = source, film, on_progress
        self._cancelled, self._cache = cancelled, cache
        self._deadline = time.monotonic() + film.limit_s

    def make(self, made: Path, plans: Sequence[RenderPlan]) -> Rendered:
        """Cut each clip's picture, and join them."""
        whole_s = float(sum(each.length_s for each in plans))
        done_s, pieces, rendered = 0.0, list[Piece](), list[Rendered]()
        for number, each in enumerate(plans):
            path = made.with_name(f"{number}{made.suffix}")
            length_s, before_s = float(each.length_s), done_s

            def progressed(
                now: Progress, before_s: float = before_s, own: float = length_s
            ) -> None:
                share = (before_s + own * now.percent / 100) / whole_s
                self._on_progress(replace(now, percent=100 * CUTTING * share, eta_s=None))

            rendered.append(
                render(
                    self._source,
                    each,
                    path,
                    on_progress=progressed,
                    cancelled=self._cancelled,
                    timeout_s=max(0.0, self._deadline - time.monotonic()),
                    cache=self._cache,
                )
            )
            pieces.append(Piece(str(path), each.start, each.end))
            done_s += length_s
        found = self._join(made, pieces)
        return self._rendered(found, rendered, made)

    def _join(self, made: Path, pieces: list[Piece]) -> dict[str, Any]:
        film = self._film
        lufs = LUFS[film.spec.loudness] if film.spec.loudness else None
        with readable(self._source, self._cache) as opened:
            wanted = Montage(
                source=opened.name,
                demuxer=film.info.container,
                path=str(made),
                muxer=container_named(made.suffix).muxer,
                pieces=tuple(pieces),
                video=film.pieces[0].video.index,
                tracks=tracks_of(replace(film.pieces[0], sounds=film.sounds)),
                loudness=lufs,
                hertz=film.spec.hertz,
            )
            return join_pieces(
                wanted,
                on_progress=lambda _: None,
                cancelled=self._cancelled,
                timeout_s=max(0.0, self._deadline - time.monotonic()),
            )

    def _rendered(self, found: dict[str, Any], pieces: list[Rendered], made: Path) -> Rendered:
        seconds = Counter[str]()
        for each in pieces:
            seconds.update(each.seconds)
        told = dict.fromkeys(warning for each in pieces for warning in each.warnings)
        return Rendered(
            duration_s=found["length_s"],
            frames=found["pictures"],
            size_bytes=made.stat().st_size,
            width=pieces[0].width,
            height=pieces[0].height,
            copied=sum(each.copied for each in pieces),
            reason=next((each.reason for each in pieces if each.reason), None),
            encoder=next((each.encoder for each in pieces if each.encoder), None),
            quality=next((each.quality for each in pieces if each.quality), None),
            sound=found["sound"],
            read_bytes=sum(each.read_bytes or 0 for each in pieces) + found["read_bytes"],
            warnings=(*told, *found["warnings"]),
            seconds=dict(seconds),
        )
