"""Makes one film of many clips."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from cutmv.media.engine.outputs.montage.request import Montage, Piece, Source
from cutmv.media.engine.protocol import Like
from cutmv.media.engine_request import tracks_of
from cutmv.media.errors import COPY_FAILED, MediaError, Unjoinable
from cutmv.media.montage.film_plan import FilmPlan
from cutmv.media.montage.matching import Way, difference, ways
from cutmv.media.plan import RenderPlan
from cutmv.media.products.containers import container_named, why_encoded
from cutmv.media.products.quality import quality_of
from cutmv.media.products.spec import LUFS
from cutmv.media.remote.cache import Cache
from cutmv.media.rendering import Progress, Rendered, render
from cutmv.media.running.engine_process import join as join_pieces
from cutmv.media.running.files import appear
from cutmv.media.source import readable

#: The part of the work that is the cutting of the clips; the rest joins them.
CUTTING = 0.95


def join(
    sources: Sequence[str | Path],
    film: FilmPlan,
    destination: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    cancelled: Callable[[], bool] | None = None,
    overwrite: bool = True,
    cache: Cache | None = None,
) -> Rendered:
    """Make one film of many clips, which appears whole or not at all. Raises as `render` does.

    Whole groups of pictures are copied, as in each clip. Pictures of a source that can't follow
    those of the first clip's are encoded to match; where that can't be, all of them are encoded.
    """
    run = _Run(sources, film, on_progress, cancelled, cache)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as own:
        made = Path(own, f"made{destination.suffix}")
        rendered = run.make(made)
        if overwrite:
            made.replace(destination)
        else:
            appear(made, destination)
    on_progress(Progress(100.0, None, None, 0.0, rendered.duration_s, rendered.frames))
    return rendered


@dataclass(frozen=True)
class _Made:
    """The picture of a clip that is made, at `path`, by a way's plan for it."""

    path: Path
    rendered: Rendered


class _Run:
    def __init__(
        self,
        sources: Sequence[str | Path],
        film: FilmPlan,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool] | None,
        cache: Cache | None,
    ) -> None:
        self._sources, self._film, self._on_progress = sources, film, on_progress
        self._cancelled, self._cache = cancelled, cache
        self._deadline = time.monotonic() + film.limit_s

    def make(self, made: Path) -> Rendered:
        """Make the film by the first way that does. Raises Unjoinable, MediaError."""
        failure: Unjoinable | None = None
        for way in ways(self._film):
            try:
                pieces = self._cut(made, way)
                found = self._join(made, way, [each.path for each in pieces])
            except Unjoinable as error:
                failure = error
                continue
            rendered = self._rendered(found, [each.rendered for each in pieces], made, way)
            if way.of_made:
                rendered = self._encoded(rendered, failed=failure is not None)
            return rendered
        raise failure or MediaError(f"{COPY_FAILED}: {self._differences()[0]}")

    def _encoded(self, rendered: Rendered, *, failed: bool) -> Rendered:
        """Say why all is encoded, and by software."""
        reason = "its clips' pictures can't follow one another"
        if self._film.spec.encoded_by == "hardware":
            told = f"The picture was encoded by software: {reason} as hardware made them."
            rendered = replace(rendered, warnings=(*rendered.warnings, told))
        film = self._film
        unasked = why_encoded(film.pieces[0].video, film.spec) is None
        return replace(rendered, reason=reason) if failed or unasked else rendered

    def _cut(self, made: Path, way: Way) -> list[_Made]:
        """Cut each clip's picture."""
        whole_s = float(sum(each.length_s for each in way.pieces))
        done_s, pieces = 0.0, list[_Made]()
        for number, (clip, each) in enumerate(zip(self._film.clips, way.pieces, strict=True)):
            path = made.with_name(f"{number}{made.suffix}")
            length_s, before_s = float(each.length_s), done_s

            def progressed(
                now: Progress, before_s: float = before_s, own: float = length_s
            ) -> None:
                share = (before_s + own * now.percent / 100) / whole_s
                self._on_progress(replace(now, percent=100 * CUTTING * share, eta_s=None))

            with ExitStack() as stack:
                rendered = render(
                    self._sources[clip.source],
                    each,
                    path,
                    on_progress=progressed,
                    cancelled=self._cancelled,
                    timeout_s=self._left_s(),
                    cache=self._cache,
                    like=self._like(way, made, stack, each) if way.alike[number] else None,
                )
            pieces.append(_Made(path, rendered))
            done_s += length_s
        return pieces

    def _like(self, way: Way, made: Path, stack: ExitStack, piece: RenderPlan) -> Like:
        """What the picture of another source is encoded like."""
        crf = quality_of(piece.info, piece.video, piece.spec).crf
        if way.of_made:
            muxer = container_named(made.suffix).muxer
            demuxer = "matroska" if muxer in ("webm", "matroska") else "mov"
            return Like(str(made.with_name(f"0{made.suffix}")), demuxer, 0, crf)
        source = self._sources[self._film.first]
        opened = stack.enter_context(readable(source, self._cache))
        first = self._film.pieces[0]
        return Like(opened.name, first.info.container, first.video.index, crf)

    def _join(self, made: Path, way: Way, paths: Sequence[Path]) -> dict[str, Any]:
        film = self._film
        lufs = LUFS[film.spec.loudness] if film.spec.loudness else None
        pieces = [
            Piece(str(path), each.start, each.end, clip.source, clip.label, clip.text)
            for path, each, clip in zip(paths, way.pieces, film.clips, strict=True)
        ]
        with ExitStack() as stack:
            # A source without a clip is not opened.
            used = sorted({each.source for each in film.clips})
            sources = []
            for place in used:
                opened = stack.enter_context(readable(self._sources[place], self._cache))
                planned = film.pieces[[each.source for each in film.clips].index(place)]
                tracks = tracks_of(replace(planned, sounds=film.sounds[place]))
                container = planned.info.container
                sources.append(Source(opened.name, container, planned.video.index, tracks))
            wanted = Montage(
                sources=tuple(sources),
                path=str(made),
                muxer=container_named(made.suffix).muxer,
                pieces=tuple(replace(each, source=used.index(each.source)) for each in pieces),
                with_texts=film.spec.aspect == "source",
                loudness=lufs,
                hertz=film.spec.hertz,
            )
            return join_pieces(
                wanted,
                on_progress=lambda _: None,
                cancelled=self._cancelled,
                timeout_s=self._left_s(),
            )

    def _left_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _differences(self) -> list[str]:
        """A sentence about each source whose picture differs from that of the first clip's."""
        film, told = self._film, dict[int, str]()
        first = film.pieces[0].video
        for clip, piece in zip(film.clips, film.pieces, strict=True):
            if clip.source != film.first:
                why = difference(first, piece.video) or "its headers are others"
                told[clip.source] = (
                    f"{self._name(clip.source)} differs from {self._name(film.first)}: {why}."
                )
        return list(told.values())

    def _name(self, source: int) -> str:
        given = str(self._sources[source])
        return f"Source {source + 1}" if given.startswith("http") else PurePath(given).name

    def _rendered(
        self, found: dict[str, Any], pieces: list[Rendered], made: Path, way: Way
    ) -> Rendered:
        seconds = Counter[str]()
        for each in pieces:
            seconds.update(each.seconds)
        told = dict.fromkeys(warning for each in pieces for warning in each.warnings)
        copies = any(each.copied for each in pieces)
        if any(way.alike) and copies:
            told |= {f"{each[:-1]}; it is encoded to match.": None for each in self._differences()}
        return Rendered(
            duration_s=found["length_s"],
            frames=found["pictures"],
            size_bytes=made.stat().st_size,
            width=pieces[0].width,
            height=pieces[0].height,
            copied=sum(each.copied for each in pieces),
            reason=None if copies else next((each.reason for each in pieces if each.reason), None),
            sound=found["sound"],
            read_bytes=sum(each.read_bytes or 0 for each in pieces) + found["read_bytes"],
            warnings=(*told, *found["warnings"]),
            seconds=dict(seconds),
            encoder=None
            if copies
            else next((each.encoder for each in pieces if each.encoder), None),
            quality=None
            if copies
            else next((each.quality for each in pieces if each.quality), None),
        )
