from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.media import (
    AudioStream,
    Clip,
    Kind,
    MediaError,
    MediaInfo,
    OutputSpec,
    VideoStream,
    output_extension,
    plan,
    time_limit_s,
)

CUT = OutputSpec("cutdown", "source", "crop")
COPY_ALL, COPY_NONE = replace(CUT, exact_copy="always"), replace(CUT, exact_copy="never")


def info(**video: Any) -> MediaInfo:
    """Ten seconds of a phone's 1080p at 29.97, on the usual clock."""
    stream = VideoStream(
        index=0,
        codec="h264",
        width=1920,
        height=1080,
        coded_width=1920,
        coded_height=1080,
        rotation=0,
        frame_rate=Fraction(30000, 1001),
        variable=False,
        time_base=Fraction(1, 30000),
        start_s=0.0,
        duration_s=10.01,
        pix_fmt="yuv420p",
        color_range="tv",
        color_primaries="bt709",
        color_transfer="bt709",
        color_space="bt709",
    )
    return MediaInfo(
        container="mov",
        size_bytes=1_000_000,
        duration_s=10.01,
        start_s=0.0,
        video=replace(stream, **video),
        audio=AudioStream(1, "aac", 2, 48_000),
    )


def clip(start: str, end: str) -> Clip:
    return Clip(Fraction(start), Fraction(end))


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("10.5", "11", r"starts past the end of the video, 10\.010 s"),
        ("9", "10.2", r"ends past the end of the video, 10\.010 s"),
        ("3", "3", "is empty"),
        ("3", "2", "is empty"),
    ],
)
def test_a_clip_that_the_video_does_not_have_is_refused(start: str, end: str, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        plan(info(), clip(start, end), CUT)


def test_an_end_that_was_rounded_up_is_taken_as_the_video_s() -> None:
    assert plan(info(), clip("9", "10.02"), CUT).end == Fraction("10.02")


def test_a_file_without_a_picture_has_nothing_to_cut() -> None:
    with pytest.raises(MediaError, match="no picture"):
        plan(replace(info(), video=None), clip("0", "1"), CUT)


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        ("16:9", (1280, 720)),
        ("9:16", (1080, 1920)),
        ("1:1", (1080, 1080)),
        ("4:5", (1080, 1350)),
        ("source", (640, 358)),
    ],
)
def test_each_shape_has_its_size_and_even_sides(aspect: Any, size: tuple[int, int]) -> None:
    source = info(width=641, height=359, coded_width=641, coded_height=359)
    made = plan(source, clip("0", "1"), OutputSpec("cutdown", aspect, "pad"))
    assert (made.width, made.height) == size


@given(
    width=st.integers(2, 8000),
    height=st.integers(2, 8000),
    aspect=st.sampled_from(["16:9", "9:16", "1:1", "4:5", "source"]),
    fit=st.sampled_from(["crop", "pad"]),
    kind=st.sampled_from(["cutdown", "gif", "still"]),
)
def test_any_picture_is_scaled_to_cover_or_to_fit(
    width: int, height: int, aspect: Any, fit: Any, kind: Any
) -> None:
    source = info(width=width, height=height, coded_width=width, coded_height=height)
    made = plan(source, clip("0", "1"), OutputSpec(kind, aspect, fit))
    assert made.width % 2 == made.height % 2 == 0
    assert made.width > 0 < made.height
    scale = next((f for f in made.filters.split(",") if f.startswith("scale=")), None)
    if scale is None or "flags" not in scale:
        return
    across, down = (int(side) for side in scale.removeprefix("scale=").split(":")[:2])
    if fit == "crop":
        assert across >= made.width
        assert down >= made.height
    else:
        assert across <= made.width
        assert down <= made.height


def test_a_gif_ends_after_six_seconds() -> None:
    made = plan(info(), clip("1", "9"), OutputSpec("gif", "source", "crop"))
    assert made.end == 7
    assert (made.width, made.height) == (480, 270)


def test_the_time_limit_grows_with_the_clip_and_the_picture() -> None:
    limits = [
        time_limit_s(info(), clip("0", "1"), CUT),
        time_limit_s(info(), clip("0", "10"), CUT),
        time_limit_s(info(width=3840, height=2160), clip("0", "10"), CUT),
    ]
    assert limits == sorted(set(limits))
    still = time_limit_s(info(), clip("0", "10"), OutputSpec("still", "source", "crop"))
    assert still == time_limit_s(info(), clip("0", "1"), OutputSpec("still", "source", "crop"))


def test_what_a_probe_found_survives_json() -> None:
    found = info(frame_rate=Fraction(24000, 1001))
    assert MediaInfo.from_dict(found.to_dict()) == found
    silent = replace(found, audio=None)
    assert MediaInfo.from_dict(silent.to_dict()) == silent
    # What was kept before files told their timecode.
    older = {name: each for name, each in silent.to_dict().items() if name != "timecode"}
    assert MediaInfo.from_dict(older) == silent


def test_each_kind_of_output_has_its_extension() -> None:
    kinds: tuple[Kind, ...] = ("cutdown", "canvas", "gif", "webp", "still", "m4a", "wav")
    found = [output_extension(info(), OutputSpec(kind, "source", "crop")) for kind in kinds]
    assert found == ["mp4", "mp4", "gif", "webp", "jpg", "m4a", "wav"]


@pytest.mark.parametrize(
    ("picture", "sound", "extension"),
    [
        ("h264", "aac", "mp4"),
        ("h264", "flac", "mp4"),
        ("h264", "pcm_s16le", "mov"),
        ("hevc", None, "mp4"),
        ("vp9", "aac", "mp4"),
        ("vp9", "opus", "mp4"),
        ("av1", "pcm_s24le", "mkv"),
        ("vp8", None, "webm"),
        ("mpeg2video", "mp2", "mp4"),
        ("mpeg2video", "pcm_s24be", "mov"),
        ("prores", "aac", "mov"),
        ("dnxhd", "pcm_s24le", "mov"),
        ("mjpeg", None, "mov"),
        ("ffv1", "flac", "mkv"),
        ("mpeg4", "mp3", "mp4"),
        ("mpeg4", "pcm_s16le", "mp4"),
    ],
)
def test_a_film_is_what_holds_the_sources_packets(
    picture: str, sound: str | None, extension: str
) -> None:
    heard = AudioStream(1, sound, 2, 48000) if sound else None
    found = replace(info(codec=picture), audio=heard)

    assert output_extension(found, CUT) == extension
    # What is encoded is played by everything.
    for encoded in (replace(CUT, aspect="9:16"), replace(CUT, fade_s=1), COPY_NONE):
        assert output_extension(found, encoded) == "mp4"
    # AVI tells when a picture is shown only where that is the order of the packets.
    in_order = picture in ("prores", "dnxhd", "mjpeg", "ffv1")
    in_avi = output_extension(replace(found, container="avi"), CUT)
    assert in_avi == (extension if in_order else "mp4")


@pytest.mark.parametrize(("picture", "sound"), [("vp9", "opus"), ("av1", "vorbis")])
def test_what_is_made_for_webm_stays_there(picture: str, sound: str) -> None:
    found = replace(info(codec=picture), audio=AudioStream(1, sound, 2, 48000))
    assert output_extension(replace(found, container="matroska"), CUT) == "webm"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (
            replace(COPY_ALL, aspect="1:1"),
            "The clip can't be copied exactly: its shape is not the source's.",
        ),
        (replace(COPY_ALL, fade_s=0.2), "The clip can't be copied exactly: the picture fades."),
        (replace(COPY_ALL, fastest=25), "it has at most 25 frames a second"),
    ],
)
def test_what_must_be_copied_and_cannot_is_refused(spec: OutputSpec, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        plan(info(), clip("1", "2"), spec)
    assert plan(info(), clip("1", "2"), replace(spec, exact_copy="auto")).reason


def test_a_still_beside_an_exact_copy_is_no_copy() -> None:
    still = replace(COPY_ALL, kind="still")
    assert plan(info(), clip("1", "2"), still).reason is None
    assert plan(info(), clip("1", "2"), COPY_NONE).reason == "that was asked for"


@pytest.mark.parametrize("wish", ["all", "1", "deu"])
def test_tracks_that_an_earlier_version_did_not_note_are_refused(wish: str) -> None:
    earlier = info().to_dict()
    del earlier["sounds"], earlier["unknown_sound"]

    with pytest.raises(MediaError, match="send it again"):
        plan(MediaInfo.from_dict(earlier), clip("1", "2"), replace(CUT, audio=(wish,)))
