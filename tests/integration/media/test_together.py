"""Several outputs of one clip by one decode: each as it is when it is made alone."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from cutmv.media import (
    Cancelled,
    Clip,
    MediaError,
    MediaUnavailable,
    Order,
    OutputSpec,
    Progress,
    Rendered,
    RenderPlan,
    output_extension,
    plan,
    probe,
    render,
    render_together,
)
from cutmv.media.engine.outputs import feed, films
from cutmv.media.engine.outputs.together import shares
from cutmv.media.engine.protocol import Failed, Made, Output
from cutmv.media.engine.source import clip as of_engine
from cutmv.media.products.memory import held_bytes
from cutmv.media.rendering.making import Making
from cutmv.media.rendering.render import _request
from tests.support.media import frame_number, make_sample, read_frames
from tests.support.processes import wait_for

SIZE = (320, 180)
SPECS = {
    "tall": OutputSpec("cutdown", "9:16", "crop", size=(180, 320)),
    "square": OutputSpec("cutdown", "1:1", "blur", size=(180, 180)),
    "copied": OutputSpec("cutdown", "source", "crop"),
    "rebound": OutputSpec("canvas", "9:16", "crop", loop="rebound", size=(180, 320)),
    "dissolve": OutputSpec("canvas", "9:16", "crop", preset="other", size=(90, 160)),
    "gif": OutputSpec("gif", "source", "crop"),
    "first": OutputSpec("still", "source", "crop"),
    "best": OutputSpec("still", "source", "crop", best=True),
    "sound": OutputSpec("wav", "source", "crop"),
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=8.0, size=SIZE)


def planned(video: Path, spec: OutputSpec, start: str = "0.5", end: str = "1.5") -> RenderPlan:
    return plan(probe(video), Clip(Fraction(start), Fraction(end)), spec)


def orders(video: Path, folder: Path, names: Sequence[str], end: str = "1.5") -> list[Order]:
    folder.mkdir(exist_ok=True)
    return [
        Order(
            planned(video, SPECS[name], end=end),
            folder / f"{name}.{output_extension(probe(video), SPECS[name])}",
        )
        for name in names
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "end"),
    [
        (["tall", "gif", "best"], "1.5"),
        (list(SPECS), "7.5"),
    ],
)
def test_outputs_made_together_are_those_made_alone(
    video: Path, tmp_path: Path, names: list[str], end: str
) -> None:
    wanted = orders(video, tmp_path / "together", names, end)
    latest: dict[str, Progress] = {}

    def listener(name: str) -> Any:
        def tell(progress: Progress) -> None:
            assert progress.percent >= latest.get(name, Progress()).percent
            latest[name] = progress

        return tell

    began = time.monotonic()
    found = render_together(
        video,
        [replace(each, on_progress=listener(each.destination.name)) for each in wanted],
        timeout_s=120,
    )
    took_s = time.monotonic() - began

    spent_s = sum(sum(each.seconds.values()) for each in found if isinstance(each, Rendered))
    assert spent_s == pytest.approx(took_s, rel=0.05), "what they tell adds up to what was spent"
    for order, result in zip(wanted, found, strict=True):
        assert isinstance(result, Rendered)
        assert latest[order.destination.name].percent == 100
        if result.copied:  # two encodings of its edges may differ
            numbers = [frame_number(image, SIZE) for image in read_frames(order.destination)]
            assert numbers == list(range(15, 225))
            continue
        alone = tmp_path / order.destination.name
        again = render(video, order.plan, alone, timeout_s=60)
        same = {"seconds": {}, "read_bytes": 0, "size_bytes": 0}
        assert replace(again, **same) == replace(result, **same)
        if (
            alone.suffix == ".mp4"
        ):  # with several threads, x264 writes some bytes otherwise at times
            shown, expected = read_frames(order.destination), read_frames(alone)
            assert np.abs(shown.astype(int) - expected).mean(axis=(1, 2)).max() < 1.0
        else:
            assert alone.read_bytes() == order.destination.read_bytes(), alone.name
    made = sorted(path.name for path in (tmp_path / "together").iterdir())
    assert made == sorted(order.destination.name for order in wanted)


def test_they_share_one_decode_and_one_run_of_the_program(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = orders(video, tmp_path, ["tall", "gif", "first", "best"])
    ran: list[list[str]] = []
    decoded = 0
    decode = of_engine.Clip.decoded

    running: dict[str, feed.Program] = {}
    ended: list[Made | Failed] = []

    class Counted(feed.Program):
        def __init__(self, program: str, targets: Sequence[feed.Target], *args: Any, **rest: Any):
            ran.append([target.path.parent.name for target in targets])
            running[ran[-1][0]] = self
            super().__init__(program, targets, *args, **rest)

    def counted_decode(self: of_engine.Clip, pictures: Any) -> Iterator[Any]:
        nonlocal decoded
        for frame in decode(self, pictures):
            decoded += 1
            if decoded == 20:
                wait_for(lambda: running["in-first.jpg"].ended, what="the still is written")
            if decoded == 30:
                assert [Path(each.path).parent.name for each in ended] == ["in-first.jpg"]
            yield frame

    monkeypatch.setattr(feed, "Program", Counted)
    monkeypatch.setattr(of_engine.Clip, "decoded", counted_decode)
    making = []
    for each in wanted:
        folder = tmp_path / f"in-{each.destination.name}"
        folder.mkdir()
        making.append(Making(each, folder))

    assert all(each.wanted() for each in making)
    films.make(_request(str(video), making, None, time.monotonic()), lambda *_: None, ended.append)

    assert [type(each) for each in ended] == [Made] * 4
    assert decoded == 30
    # What ends together is one program's; the best still is, when it is chosen.
    assert ran == [["in-tall.mp4", "in-gif.gif"], ["in-first.jpg"], ["in-best.jpg"]]


def test_what_is_there_when_the_engine_is_lost_stays(video: Path, tmp_path: Path) -> None:
    sound, tall = orders(video, tmp_path, ["sound", "tall"])

    def lost(_made: Rendered) -> None:
        raise MediaUnavailable("The engine was ended from outside.")

    found = render_together(video, [tall, replace(sound, on_made=lost)], timeout_s=120)

    assert [type(each) for each in found] == [MediaUnavailable, Rendered]
    assert [path.name for path in tmp_path.iterdir()] == ["sound.wav"]


def test_one_that_fails_voids_no_other(video: Path, tmp_path: Path) -> None:
    tall, bad, small, first = orders(video, tmp_path, ["tall", "square", "gif", "first"])
    bad = replace(bad, plan=replace(bad.plan, filters="scale=no:such"))
    small = replace(small, plan=replace(small.plan, width=2))

    found = render_together(video, [tall, bad, small, first], timeout_s=120)

    assert [type(result) for result in found] == [Rendered, MediaError, MediaError, Rendered]
    assert str(found[1]).startswith("The clip can't be cut: ")
    assert "the result is 480×270 pixels" in str(found[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.jpg", "tall.mp4"]
    numbers = [frame_number(image, SIZE) for image in read_frames(tall.destination)]
    assert numbers == list(range(15, 45))


def test_what_ends_before_a_file_is_cut_short_is_made(video: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "48", "-movflags", "+faststart"]
    whole = make_sample(tmp_path / "whole.mp4", seconds=8.0, size=SIZE, codec=tuple(codec))
    short.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.9)])
    wanted = orders(short, tmp_path / "made", ["tall", "gif"], "7.5")

    tall, gif = render_together(short, wanted, timeout_s=120)

    assert "the file is cut short, and its picture ends at 7." in str(tall)
    assert isinstance(gif, Rendered)
    assert gif.frames == 60


def test_a_cancel_ends_all_and_leaves_nothing(video: Path, tmp_path: Path) -> None:
    cancelled = False

    def at_work(progress: Progress) -> None:
        nonlocal cancelled
        cancelled = cancelled or progress.percent > 0

    wanted = orders(video, tmp_path, ["tall", "square", "gif"], "7.5")
    with pytest.raises(Cancelled):
        render_together(
            video,
            [replace(each, on_progress=at_work) for each in wanted],
            cancelled=lambda: cancelled,
            timeout_s=60,
        )

    assert list(tmp_path.iterdir()) == []


def test_outputs_that_hold_much_have_a_decode_of_their_own() -> None:
    outputs = [Output(str(holds), "null", (), holds=holds) for holds in (3, 4, 5, 12, 1, 0)]

    groups = [[each.holds for each in group] for group in shares(outputs, 10)]

    assert groups == [[3, 4], [5], [12], [1, 0]]


@pytest.mark.slow
def test_no_more_memory_is_held_than_was_told(video: Path, tmp_path: Path) -> None:
    specs = [OutputSpec("cutdown", "9:16", "crop"), replace(SPECS["rebound"], size=(720, 1280))]
    wanted = [
        Order(planned(video, spec, end="4.5"), tmp_path / f"{spec.kind}.mp4") for spec in specs
    ]
    told = sum(
        held_bytes(spec, plan.width, plan.height, plan.pictures, os.cpu_count() or 1)
        for spec, plan in zip(specs, (each.plan for each in wanted), strict=True)
    )
    highest = 0

    def measured() -> bool:
        nonlocal highest
        programs = []
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                programs += [child.memory_info().rss] if "ffmpeg" in child.name() else []
        highest = max(highest, sum(programs))
        return made.done()

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(render_together, video, wanted, timeout_s=120)
        wait_for(measured, 120, "they are made")
    assert all(isinstance(each, Rendered) for each in made.result())
    assert told / 2 < highest < told
