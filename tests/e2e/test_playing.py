"""Chromium plays what is cut, past the joins of copied and encoded pictures."""

from __future__ import annotations

import base64
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page

from cutmv.media import Clip, FilmClip, join, plan_film, probe
from tests.support import corpus
from tests.support.corpus import KINDS
from tests.support.media import frame_number, frame_times, make_sample

#: Frames at each side of a join that are looked at.
AROUND = 4
#: Loads a video; and shows it at a time, whose picture is returned as grey bytes, in Base64: a list
#: of them would take Playwright some seconds for a clip.
LOAD = """async (data) => {
    const video = document.createElement("video");
    video.muted = true;
    document.body.replaceChildren(video);
    video.src = URL.createObjectURL(await (await fetch(data)).blob());
    await new Promise((done, failed) => {
        video.oncanplaythrough = done;
        video.onerror = () => failed(new Error(video.error.message));
    });
    return [video.videoWidth, video.videoHeight, video.duration];
}"""
SHOW = """async (at) => {
    const video = document.querySelector("video");
    const shown = new Promise(done => video.requestVideoFrameCallback(done));
    video.currentTime = at;
    await shown;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let grey = "";
    for (let at = 1; at < data.length; at += 4) {
        grey += String.fromCharCode(data[at]);
    }
    return btoa(grey);
}"""
PLAY = """async (at) => {
    const video = document.querySelector("video");
    video.currentTime = at;
    const ended = new Promise((done, failed) => {
        video.onended = done;
        video.onerror = () => failed(new Error(video.error.message));
    });
    await video.play();
    await ended;
    return video.currentTime;
}"""


def shown(page: Page, at: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture, in grey, that the page's video shows at a time (s)."""
    grey = np.frombuffer(base64.b64decode(page.evaluate(SHOW, at)), np.uint8)
    return grey.reshape(size[1], size[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "pyramid",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("29.97", "variable rate", "av1", "vp9, hidden pictures")
        ),
    ],
)
def test_a_clip_plays_past_its_joins(browser: Browser, tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    source = corpus.make(kind, tmp_path / f"source.{kind.suffix}", seconds=7)
    made, told = corpus.check(kind, source, Clip(Fraction("0.715"), Fraction("5.55")), tmp_path)
    assert 0 < told.copied < told.frames
    copied = corpus.payloads(source)
    times, numbers = frame_times(made), corpus.seen(made).numbers
    joins = {0, len(times) - 1, *corpus.joins(made, copied)}
    near = {at for join in joins for at in range(join - AROUND, join + AROUND + 1)}
    page = browser.new_page()
    data = base64.b64encode(made.read_bytes()).decode()
    page.goto("about:blank")
    width, height, length_s = page.evaluate(LOAD, f"data:video/mp4;base64,{data}")
    assert abs(length_s - 4.835) < 0.03
    for place in sorted(near & set(range(len(times)))):
        ends = times[place + 1] if place + 1 < len(times) else length_s
        image = shown(page, (float(times[place]) + float(ends)) / 2, (width, height))
        assert frame_number(image, corpus.SIZE) == numbers[place], place
    assert page.evaluate(PLAY, float(times[max(0, min(joins - {0}) - 5)])) >= length_s - 0.05
    page.close()


HEAR = """async ([data, codec]) => {
    const claimed = document.createElement("video").canPlayType(`audio/mp4; codecs="${codec}"`);
    const bytes = await (await fetch(data)).arrayBuffer();
    const heard = await new AudioContext({ sampleRate: 48000 }).decodeAudioData(bytes);
    let samples = "";
    for (const byte of new Uint8Array(heard.getChannelData(0).buffer)) {
        samples += String.fromCharCode(byte);
    }
    return [claimed, btoa(samples)];
}"""


@pytest.mark.parametrize(
    ("sound", "codec"),
    [
        ("libopus", "opus"),
        pytest.param("libmp3lame", "mp4a.6B", marks=pytest.mark.slow),
        pytest.param("flac", "flac", marks=pytest.mark.slow),
    ],
)
def test_copied_sound_plays_where_it_belongs(
    browser: Browser, tmp_path: Path, sound: str, codec: str
) -> None:
    picture = (*corpus.x264("-g", "30"), "-c:a", sound)
    source = corpus.make(corpus.Kind("mkv", picture), tmp_path / "source.mkv", seconds=4)
    clip = Clip(Fraction("0.715"), Fraction("3.155"))
    made, told = corpus.check(corpus.Kind("mkv", picture), source, clip, tmp_path)
    assert told.sound == "copied"
    page = browser.new_page()
    data = f"data:video/mp4;base64,{base64.b64encode(made.read_bytes()).decode()}"
    page.goto("about:blank")

    claimed, samples = page.evaluate(HEAR, [data, codec])
    page.evaluate(LOAD, data)
    assert page.evaluate(PLAY, 1.0) >= 2.39
    played = page.evaluate("document.querySelector('video').webkitAudioDecodedByteCount")

    assert claimed == "probably"
    assert played > 0
    heard, rate, near = np.frombuffer(base64.b64decode(samples), np.float32), 48_000, 240
    at = float(clip.start) + np.arange(rate) / rate
    wanted = np.sin(2 * np.pi * (200 * at + 30 * at * at))[near:-near]
    alike = [float(heard[at : at + len(wanted)] @ wanted) for at in range(2 * near)]
    assert abs(int(np.argmax(alike)) - near) <= rate // 1000


@pytest.mark.slow
@pytest.mark.parametrize("second", [(320, 180), (640, 360)])
def test_a_film_of_two_files_plays_past_its_joins(
    browser: Browser, tmp_path: Path, second: tuple[int, int]
) -> None:
    sources = [
        corpus.make(KINDS["pyramid"], tmp_path / "a.mp4", seconds=3),
        make_sample(tmp_path / "b.mp4", seconds=3, size=second, codec=KINDS["pyramid"].codec),
    ]
    clips = [FilmClip(Clip(Fraction("0.5"), Fraction("2.3")), source=n) for n in (0, 1, 0)]
    made = tmp_path / "film.mp4"
    told = join(sources, plan_film([probe(each) for each in sources], clips, corpus.CUT), made)
    assert 0 < told.copied < told.frames
    times, numbers = frame_times(made), corpus.seen(made).numbers
    assert numbers == [*range(15, 69)] * 3
    page = browser.new_page()
    page.goto("about:blank")
    data = base64.b64encode(made.read_bytes()).decode()
    width, height, length_s = page.evaluate(LOAD, f"data:video/mp4;base64,{data}")
    for join_at in (54, 108):
        for place in range(join_at - AROUND, join_at + AROUND + 1):
            middle = (float(times[place]) + float(times[place + 1])) / 2
            image = shown(page, middle, (width, height))
            assert frame_number(image, corpus.SIZE) == numbers[place], place
    assert page.evaluate(PLAY, 1.0) >= length_s - 0.05
    page.close()
