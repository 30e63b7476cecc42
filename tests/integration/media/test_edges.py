"""The edges of a clip, which a thread of their own encodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

from cutmv.media.engine.outputs import edges
from cutmv.media.engine.outputs.edges import Edges
from cutmv.media.engine.source.clip import Clip, Span
from cutmv.media.engine.source.file import opened, tick_of, video_of
from cutmv.media.engine.source.windows import windows
from cutmv.media.engine.timeline.segments import Encoded, decide
from tests.support.media import make_sample


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edges")
    return make_sample(folder / "song.mp4", seconds=4.0, size=(320, 180))


@contextmanager
def clip_of(video: Path) -> Iterator[tuple[Clip, list[Encoded]]]:
    """A clip that begins and ends between key pictures, and its edges; its header is made."""
    again = partial(opened, str(video), "mov")
    with again() as container:
        stream = video_of(container, 0)
        span = Span.of(Fraction("0.6"), Fraction("3.5"), tick_of(stream))
        window = next(windows(container, stream, span.first, span.past))
        segments = decide(window.timeline, span.first, span.past)
        window.codec.header(edges=True)
        encoded = [each for each in segments if isinstance(each, Encoded)]
        yield Clip(container, stream, window, span, again), encoded


def test_they_are_the_same_where_they_are_too_many_to_be_made_ahead(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clip_of(video) as (clip, encoded), closing(Edges(clip, encoded)) as ahead:
        made = [list(ahead.packets(each)) for each in encoded]
    monkeypatch.setattr(edges, "AHEAD_BYTES", 1)
    with clip_of(video) as (clip, encoded), closing(Edges(clip, encoded)) as when_asked:
        same = [list(when_asked.packets(each)) for each in encoded]

    assert [len(each) for each in made] == [len(each.pictures) for each in encoded] != []
    assert made == same


def test_what_is_not_asked_for_ends_with_them(video: Path) -> None:
    before = threading.active_count()
    with clip_of(video) as (clip, encoded):
        Edges(clip, encoded).close()
    assert threading.active_count() == before


def test_a_failure_is_told_to_whoever_asks(video: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    gone.write_bytes(video.read_bytes())
    with clip_of(gone) as (clip, encoded):
        gone.unlink()
        with closing(Edges(clip, encoded)) as ahead:
            for each in encoded:
                with pytest.raises(FileNotFoundError):
                    list(ahead.packets(each))
