"""Clips of real videos by the real FFmpeg, each frame known by the number it shows."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cutmv.media import (
    Clip,
    MediaError,
    OutputSpec,
    Progress,
    Rendered,
    ffmpeg_path,
    keyframes,
    plan,
    probe,
    render,
)
from tests.support.media import (
    audio_offset_s,
    duration_s,
    frame_number,
    frame_times,
    make_sample,
    read_frames,
    shown_size,
    start_s,
)

SIZE = (320, 180)
CUT = OutputSpec("cutdown", "source", "crop")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "48", "-bf", "2")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libvorbis")


def clip(start: str | Fraction, end: str | Fraction) -> Clip:
    return Clip(Fraction(start), Fraction(end))


def cut(
    source: Path, wanted: Clip, spec: OutputSpec = CUT, **options: Any
) -> tuple[Path, Rendered]:
    """The output, beside the source, and what was said of it."""
    suffix = {"cutdown": "mp4", "gif": "gif", "still": "jpg"}[spec.kind]
    made = source.with_name(f"{source.stem}-cut.{suffix}")
    told = render(source, plan(probe(source), wanted, spec), made, timeout_s=60, **options)
    assert told.size_bytes == made.stat().st_size
    return made, told


def numbers(made: Path, source: tuple[int, int] = SIZE, fit: str = "crop") -> list[int]:
    return [frame_number(image, source, fit) for image in read_frames(made)]


def frames_of(source: Path, wanted: Clip) -> list[int]:
    """The numbers of the frames that are seen from START to END; times count from the file's start.

    What is shown at START may have begun before.
    """
    times = frame_times(source)
    times = [t - zero_of(source, times) for t in times]
    # Matroska's clock has milliseconds: a clip's times are rounded to these, too.
    clock = 1000 if source.suffix in (".mkv", ".webm") else 1_000_000
    start, end = (Fraction(round(at * clock), clock) for at in (wanted.start, wanted.end))
    begun = sum(t <= start for t in times)
    return [n for n, t in enumerate(times) if t < end and n >= begun - 1]


def zero_of(source: Path, times: list[Fraction]) -> Fraction:
    """The time from which a clip's times count, on the file's own clock."""
    if source.suffix in (".ts", ".mts", ".avi"):
        return times[0]
    return max(Fraction(0), Fraction(start_s(source)))


@pytest.mark.parametrize(
    ("suffix", "rate", "codec"),
    [
        ("mp4", "24", X264),
        ("mp4", "30000/1001", X264),
        ("mov", "25", X264),
        ("mkv", "24000/1001", X264),
        ("webm", "30", VP8),
        ("ts", "25", X264),
        ("mts", "25", (*X264, "-flags", "+ildct+ilme")),
        ("avi", "30", ("-c:v", "mpeg4", "-q:v", "3")),
    ],
)
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("1.013", "2.99"),
        pytest.param("0", "1.5", marks=pytest.mark.slow),
        pytest.param("2.5", "4", marks=pytest.mark.slow),
    ],
)
def test_a_clip_has_every_frame_of_its_interval_and_no_other(
    tmp_path: Path, suffix: str, rate: str, codec: tuple[str, ...], start: str, end: str
) -> None:
    source = make_sample(tmp_path / f"a.{suffix}", seconds=4, size=SIZE, rate=rate, codec=codec)
    wanted = clip(start, end)
    made, told = cut(source, wanted)
    expected = frames_of(source, wanted)
    assert numbers(made) == expected
    assert told.frames == len(expected)
    length_s = float(wanted.end - wanted.start)
    assert duration_s(made, "v:0") == pytest.approx(length_s, abs=0.001)
    assert duration_s(made, "a:0") == pytest.approx(length_s, abs=0.001)
    zero = zero_of(source, frame_times(source))
    first_s = float(zero + wanted.start) - start_s(source)
    # Vorbis in Matroska begins a few milliseconds late, which the reference does not fill.
    assert abs(audio_offset_s(made, source, first_s)) < (0.004 if suffix == "webm" else 0.001)


@pytest.mark.parametrize(("seconds", "start", "end"), [(3, "2.2", "3"), (12, "11", "11.9")])
def test_a_clip_far_from_its_keyframe_in_a_transport_stream_has_every_frame(
    tmp_path: Path, seconds: int, start: str, end: str
) -> None:
    # FFmpeg seeks past the keyframe there, and fails since it finds sound and no picture.
    sparse = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "150", "-bf", "2")
    source = make_sample(tmp_path / "g.ts", seconds=seconds, size=SIZE, codec=sparse)
    wanted = clip(start, end)
    made, _ = cut(source, wanted)
    expected = frames_of(source, wanted)
    assert numbers(made) == expected
    first_s = float(frame_times(source)[expected[0]]) - start_s(source)
    assert abs(audio_offset_s(made, source, first_s)) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("codec", [X264, ("-c:v", "mpeg4", "-bf", "2", "-q:v", "3", "-g", "48")])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0", "1"),
        ("1.5", "2.9"),
        ("3", "4"),
    ],
)
def test_an_avi_whose_frames_are_reordered_is_cut_by_their_order_of_showing(
    tmp_path: Path, codec: tuple[str, ...], start: str, end: str
) -> None:
    source = make_sample(tmp_path / "b.avi", seconds=4, size=SIZE, codec=codec)
    made, told = cut(source, clip(start, end))
    assert numbers(made) == list(range(round(30 * float(start)), round(30 * float(end))))
    # Its sound is to be heard with the frame that leaves the decoder.
    video = probe(source).video
    assert video is not None
    assert abs(audio_offset_s(made, source, video.start_s + float(start))) < 0.02
    made, _ = cut(source, clip(start, end), OutputSpec("still", "source", "crop"))
    assert numbers(made) == [round(30 * float(start))]
    _, told = cut(source, clip(start, end), OutputSpec("gif", "source", "crop"))
    assert told.frames == round(10 * (float(end) - float(start)))


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_capture_that_begins_between_keyframes_starts_with_its_first_whole_picture(
    tmp_path: Path, codec: str
) -> None:
    every = ("-c:v", codec, "-g", "24", "-bf", "2", "-sc_threshold", "1000000000", "-q:v", "4")
    whole = make_sample(tmp_path / "whole.ts", seconds=4, size=SIZE, codec=every)
    packets = whole.read_bytes()
    capture = tmp_path / "capture.ts"
    capture.write_bytes(packets[len(packets) // 188 // 12 * 188 :])
    first = round(keyframes(whole)[1] * 30)
    made, _ = cut(capture, clip("0", "1"))
    assert numbers(made) == list(range(first, first + 30))
    first_s = float(frame_times(whole)[first]) - start_s(whole)
    assert abs(audio_offset_s(made, whole, first_s)) < 0.02
    made, _ = cut(capture, clip("1.5", "2"))
    assert numbers(made) == list(range(first + 45, first + 60))
    made, told = cut(capture, clip("0", "1"), OutputSpec("gif", "source", "crop"))
    assert told.frames == 10
    made, _ = cut(capture, clip("0", "1"), OutputSpec("still", "source", "crop"))
    assert numbers(made) == [first]
    assert probe(capture).duration_s == pytest.approx(4 - first / 30, abs=0.1)
    assert keyframes(capture)[0] == 0


@pytest.mark.slow
def test_a_matroska_written_to_a_pipe_which_tells_no_length_is_cut(tmp_path: Path) -> None:
    whole = make_sample(tmp_path / "w.mp4", seconds=4, size=SIZE)
    piped = through_a_pipe(whole, tmp_path / "p.mkv", "matroska")
    assert probe(piped).duration_s == pytest.approx(4, abs=0.05)
    made, _ = cut(piped, clip("1", "2"))
    assert numbers(made) == frames_of(piped, clip("1", "2"))
    made, _ = cut(piped, clip("3", "4"))
    assert numbers(made)[-1] == 119
    with pytest.raises(MediaError, match=r"ends past the end of the video, 4\.0"):
        plan(probe(piped), clip("3", "5"), CUT)


def test_a_browser_s_recording_which_tells_neither_length_nor_rate_is_cut(tmp_path: Path) -> None:
    whole = make_sample(tmp_path / "w.webm", seconds=4, size=SIZE, codec=VP8, vfr=True)
    recording = through_a_pipe(whole, tmp_path / "r.webm", "webm")
    content = recording.read_bytes()
    # The frames' default duration, which browsers leave out, becomes a void of its eight bytes.
    at = content.index(b"\x23\xe3\x83\x84")
    recording.write_bytes(content[:at] + b"\xec\x86" + bytes(6) + content[at + 8 :])
    video = probe(recording).video
    assert video is not None
    assert video.variable
    assert float(video.frame_rate) == pytest.approx(20, abs=0.2)
    for wanted in (clip("1", "2.5"), clip("3", "3.9")):
        made, _ = cut(recording, wanted)
        shown = [round(30 * t) for t in frame_times(recording)]
        assert numbers(made) == [shown[n] for n in frames_of(recording, wanted)]


def through_a_pipe(source: Path, piped: Path, muxer: str) -> Path:
    """The streams of `source` in a container whose head could not be completed at its end."""
    argv = [ffmpeg_path(), "-v", "error", "-i", str(source), "-c", "copy", "-f", muxer]
    argv += ["-live", "1", "pipe:1"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        piped.write_bytes(running.stdout.read())
    assert running.returncode == 0
    return piped


def test_frames_of_a_variable_rate_keep_their_times(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "v.mp4", seconds=4, size=SIZE, vfr=True)
    assert probe(source).video.variable  # type: ignore[union-attr]
    made, _ = cut(source, clip("1.01", "3"))
    # The frame of 0:01 is seen until 0:01.067, and so for the clip's first 0.057 s.
    times = [t for t in frame_times(source) if 1 <= t < 3]
    assert numbers(made) == [round(t * 30) for t in times]
    assert [float(t) for t in frame_times(made)] == pytest.approx(
        [max(0.0, float(t) - 1.01) for t in times], abs=0.001
    )
    assert abs(audio_offset_s(made, source, 1.01)) < 0.001


def test_sound_that_starts_late_is_silent_until_then(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "d.mp4", seconds=4, size=SIZE, audio_delay_s=1.0)
    made, _ = cut(source, clip("0.5", "3"))
    assert duration_s(made, "a:0") == pytest.approx(2.5, abs=0.022)
    assert abs(audio_offset_s(made, source, 0.5)) < 0.02


def test_a_video_without_sound_gives_a_clip_without_sound(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "s.mp4", seconds=3, size=SIZE, audio=False)
    made, _ = cut(source, clip("1", "2"))
    assert numbers(made) == list(range(30, 60))
    assert probe(made).audio is None


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(
    ("aspect", "size"), [("16:9", (1280, 720)), ("9:16", (1080, 1920)), ("1:1", (1080, 1080))]
)
def test_a_cutdown_has_its_shape(
    tmp_path: Path, aspect: Any, size: tuple[int, int], fit: Any
) -> None:
    shape = (360, 240)
    source = make_sample(tmp_path / "a.mp4", seconds=2, size=shape, audio=False)
    made, told = cut(source, clip("1", "1.1"), OutputSpec("cutdown", aspect, fit))
    assert (told.width, told.height) == shown_size(made) == size
    frames = read_frames(made)
    assert [frame_number(image, shape, fit) for image in frames] == [30, 31, 32]
    # The picture's own edge is bright somewhere; a bar is black all over.
    edge = frames[0][:, :4] if size[0] / size[1] > 1.5 else frames[0][:4, :]
    assert (edge.max() <= 20) == (fit == "pad")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_video_is_cut_as_it_is_shown(tmp_path: Path, degrees: int) -> None:
    source = make_sample(tmp_path / "r.mp4", seconds=2, size=SIZE, rotation=degrees)
    made, _ = cut(source, clip("1", "1.5"))
    assert shown_size(made) == shown_size(source)
    # FFmpeg's own decoding turns the picture: the same frames, and not their neighbours.
    shown, given = read_frames(source).astype(int), read_frames(made).astype(int)
    assert len(given) == 15
    for number, image in ((30, given[0]), (44, given[14])):
        differences = [np.abs(shown[n] - image).mean() for n in (number - 1, number, number + 1)]
        assert differences[1] < 2 < min(differences[0], differences[2])


def test_an_odd_sized_video_loses_only_its_odd_line(tmp_path: Path) -> None:
    codec = (*X264, "-pix_fmt", "yuv444p")
    source = make_sample(tmp_path / "o.mp4", seconds=2, size=(321, 181), codec=codec)
    made, _ = cut(source, clip("0.5", "1"))
    assert shown_size(made) == (320, 180)
    assert numbers(made, (321, 181)) == list(range(15, 30))


def test_pictures_of_wide_pixels_are_made_square(tmp_path: Path) -> None:
    codec = (*X264, "-aspect", "16:9")
    source = make_sample(tmp_path / "w.mp4", seconds=1, size=(240, 180), codec=codec)
    made, _ = cut(source, clip("0", "0.5"), OutputSpec("cutdown", "1:1", "pad"))
    assert shown_size(made) == (1080, 1080)
    frame = read_frames(made)[0]
    assert frame[235].max() <= 20 < frame[250].max()  # 1080 × 608 of it are the picture


def test_a_gif_moves_ten_times_a_second_and_repeats(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "g.mp4", seconds=4, size=SIZE)
    made, told = cut(source, clip("1", "3"), OutputSpec("gif", "source", "crop"))
    with Image.open(made) as image:
        assert image.format == "GIF"
        assert image.size == (480, 270)
        assert image.info["loop"] == 0
        assert image.info["duration"] == 100
        assert image.n_frames == told.frames == 20
        shown = []
        for number in range(image.n_frames):
            image.seek(number)
            shown.append(frame_number(np.asarray(image.convert("L")), SIZE))
    assert shown == list(range(30, 90, 3))


def test_a_gif_of_a_still_picture_is_as_long(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "p.mp4", seconds=3, size=SIZE, rate="1/3")
    made, told = cut(source, clip("0", "2"), OutputSpec("gif", "1:1", "pad"))
    assert told.frames >= 1
    with Image.open(made) as image:
        assert image.size == (480, 480)


def test_a_still_is_the_clip_s_first_frame(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "t.mp4", seconds=3, size=SIZE)
    made, told = cut(source, clip("1.99", "2.5"), OutputSpec("still", "source", "crop"))
    with Image.open(made) as image:
        assert image.format == "JPEG"
        assert image.size == SIZE
        assert frame_number(np.asarray(image.convert("L")), SIZE) == 59  # seen until 0:02
    assert told.frames == 1


@pytest.mark.slow
def test_progress_is_of_the_frames_and_ends_at_a_hundred(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "p.mp4", seconds=6, size=(640, 360))
    seen: list[Progress] = []
    cut(source, clip("0", "6"), OutputSpec("cutdown", "9:16", "crop"), on_progress=seen.append)
    percents = [p.percent for p in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    middle = [p for p in seen if 0 < p.percent < 100]
    assert len({p.percent for p in middle}) >= 2
    assert all(p.percent == pytest.approx(100 * p.frame / 180) for p in middle)
    told = middle[-1]
    assert told.fps
    assert told.speed
    assert told.eta_s is not None
    assert told.out_time_s == pytest.approx(told.frame / 30, abs=0.001)


def test_a_probe_tells_what_is_in_a_video(tmp_path: Path) -> None:
    source = make_sample(
        tmp_path / "a.mp4",
        seconds=4,
        size=SIZE,
        rate="30000/1001",
        rotation=90,
        codec=(*X264, "-sc_threshold", "0", "-x264-params",
               "colorprim=bt709:transfer=bt709:colormatrix=bt709"),
    )  # fmt: skip
    found = probe(source)
    assert found.duration_s == pytest.approx(4, abs=0.05)
    assert found.size_bytes == source.stat().st_size
    video, audio = found.video, found.audio
    assert video is not None
    assert audio is not None
    assert (video.codec, audio.codec) == ("h264", "aac")
    assert video.frame_rate == Fraction(30000, 1001)
    assert not video.variable
    assert (video.width, video.height) == (SIZE[1], SIZE[0])
    assert (video.coded_width, video.coded_height) == SIZE
    assert video.rotation in (90, 270)
    assert (video.color_space, video.color_primaries, video.color_transfer) == ("bt709",) * 3
    assert audio.sample_rate == 48_000
    assert keyframes(source) == pytest.approx([0, 48 * 1001 / 30000, 96 * 1001 / 30000], abs=1e-3)


def test_hdr_is_shown_as_an_ordinary_screen_can(tmp_path: Path) -> None:
    hdr = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params",
           "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc")  # fmt: skip
    source = make_sample(tmp_path / "h.mp4", seconds=1, size=SIZE, codec=hdr)
    assert probe(source).video.hdr  # type: ignore[union-attr]
    made, _ = cut(source, clip("0", "0.5"), OutputSpec("cutdown", "16:9", "crop"))
    video = probe(made).video
    assert video is not None
    assert video.pix_fmt == "yuv420p"
    assert (video.color_space, video.color_primaries, video.color_transfer) == ("bt709",) * 3


def test_a_clip_carries_none_of_the_source_s_metadata(tmp_path: Path) -> None:
    codec = (*X264, "-metadata", "title=Unreleased", "-metadata", "location=+52.5+013.4/")
    source = make_sample(tmp_path / "m.mp4", seconds=1, size=SIZE, codec=codec)
    assert b"Unreleased" in source.read_bytes()
    made, _ = cut(source, clip("0", "0.5"))
    assert b"Unreleased" not in made.read_bytes()
    assert b"+52.5" not in made.read_bytes()


def test_of_a_truncated_video_what_is_there_is_cut(tmp_path: Path) -> None:
    whole = make_sample(
        tmp_path / "w.mp4", seconds=6, size=SIZE, codec=(*X264, "-movflags", "+faststart")
    )
    short = tmp_path / "short.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    made, _ = cut(short, clip("0.5", "1.5"))
    assert numbers(made) == list(range(15, 45))
    made.unlink()
    with pytest.raises(MediaError, match="cut short") as told:
        cut(short, clip("1", "5.5"))
    assert "\n" not in str(told.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["short.mp4", "w.mp4"]


def test_of_a_truncated_matroska_no_picture_is_held_for_those_that_are_lost(tmp_path: Path) -> None:
    whole = make_sample(tmp_path / "w.mkv", seconds=4, size=SIZE)
    short = tmp_path / "short.mkv"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"cut short, and its picture ends at [12]\.\d+ s"):
        cut(short, clip("3", "3.5"))


def test_a_video_whose_index_is_lost_is_refused(tmp_path: Path) -> None:
    whole = make_sample(tmp_path / "w.mp4", seconds=2, size=SIZE)
    short = tmp_path / "short.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(MediaError, match="cut short: its index is missing"):
        probe(short)
