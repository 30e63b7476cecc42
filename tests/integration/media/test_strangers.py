"""Files as people bring them: each was once cut wrongly, most without an error."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cutmv.media import (
    Clip,
    MediaError,
    MediaInfo,
    OutputSpec,
    ffmpeg_path,
    parse_clip,
    parse_time,
    plan,
    probe,
    render,
)
from tests.support.media import duration_s, frame_times

SOURCE = OutputSpec("cutdown", "source", "crop")
WIDE = OutputSpec("cutdown", "16:9", "crop")
PICTURE = "-f lavfi -i testsrc2=s=320x180:r=30:d={seconds}"
SOUND = "-f lavfi -i sine=440:d={seconds}:r=48000"
X264 = "-c:v libx264 -preset ultrafast"


def ffmpeg(options: str, *more: str) -> None:
    argv = [ffmpeg_path(), "-v", "error", "-y", *options.split(), *more]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def made(source: Path, start: str, end: str, spec: OutputSpec = SOURCE) -> Path:
    result = source.with_name(f"{source.stem}-{start}-{end}.mp4")
    wanted = Clip(Fraction(start), Fraction(end))
    render(source, plan(probe(source), wanted, spec), result, timeout_s=60)
    return result


def pixels(path: Path, colour: str = "gray") -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format=colour) for frame in file.decode(video=0)])


def loudness(path: Path) -> list[float]:
    """The sound's volume in each tenth of a second, from 0 to 1, over all channels."""
    raw = subprocess.run(
        [ffmpeg_path(), "-v", "error", "-i", path, "-ac", "1", "-ar", "48000", "-f", "f32le", "-"],
        check=True,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ).stdout
    samples = np.frombuffer(raw, np.float32)
    tenths = samples[: len(samples) // 4800 * 4800].reshape(-1, 4800)
    return [float(each) for each in np.sqrt((tenths**2).mean(axis=1))]


def lengths(path: Path) -> tuple[float, float]:
    return duration_s(path, "v:0"), duration_s(path, "a:0")


@pytest.mark.parametrize("suffix", ["mov", "mp4", "mkv"])
def test_a_file_s_own_timecode_names_its_frames(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"tc.{suffix}"
    inputs = PICTURE.format(seconds=6)
    ffmpeg(f"{inputs} {X264} -timecode 01:00:00:00", str(source))
    info = probe(source)

    clip = parse_clip("01:00:02:00-01:00:04:00", info.times)
    render(source, plan(info, clip, SOURCE), tmp_path / "made.mp4", timeout_s=60)

    assert (clip.start, clip.end) == (2, 4)
    assert MediaInfo.from_dict(info.to_dict()).times == info.times
    whole, cut = pixels(source), pixels(tmp_path / "made.mp4")
    assert len(cut) == 60
    assert np.abs(cut.astype(int) - whole[60:120]).mean() < 3
    with pytest.raises(MediaError, match="the file starts at 01:00:00:00"):
        parse_clip("00:00:02:00-00:00:04:00", info.times)


def test_a_file_s_drop_frame_timecode_drops_frames(tmp_path: Path) -> None:
    picture = "-f lavfi -i testsrc2=s=64x36:r=30000/1001:d=1"
    ffmpeg(f"{picture} {X264} -timecode 00:00:59;20", str(tmp_path / "tc.mov"))

    times = probe(tmp_path / "tc.mov").times

    assert times.timecode == "00:00:59;20"
    assert parse_time("00:01:00;02", times) == 10 * Fraction(1001, 30000)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strangers") / "full.mp4"
    inputs = f"{PICTURE.format(seconds=6)} {SOUND.format(seconds=6)}"
    ffmpeg(f"{inputs} -c:v libx264 -g 90 -bf 2 -preset fast -c:a aac {path}")
    return path


@pytest.mark.parametrize(
    ("start", "end", "first", "count"), [("0", "1", 45, 30), ("0.5", "2.5", 60, 60)]
)
def test_a_video_that_a_phone_has_trimmed_begins_where_it_shows_its_start(
    full: Path, tmp_path: Path, start: str, end: str, first: int, count: int
) -> None:
    # Trimmed without encoding: its first packets are before zero, and not shown.
    trimmed = tmp_path / "trimmed.mp4"
    ffmpeg(f"-ss 1.5 -i {full} -t 3 -c copy {trimmed}")
    found = made(trimmed, start, end)
    assert lengths(found) == pytest.approx((float(end) - float(start),) * 2, abs=0.001)
    given, whole = pixels(found).astype(int), pixels(full).astype(int)
    assert len(given) == count
    for at in (0, count - 1):
        differences = [np.abs(given[at] - whole[first + at + by]).mean() for by in (-1, 0, 1)]
        assert differences[1] == min(differences)


@pytest.mark.parametrize(
    ("suffix", "start", "end", "times"),
    [("mp4", "2", "8", 30), ("mkv", "5", "8", 1), ("mp4", "5", "11", 31)],
)
def test_a_picture_that_is_held_is_held_in_the_clip(
    tmp_path: Path, suffix: str, start: str, end: str, times: int
) -> None:
    held = tmp_path / f"held.{suffix}"
    chosen = "select='lt(t,3)+gte(t,10)'"
    inputs = f"{PICTURE.format(seconds=12)} {SOUND.format(seconds=12)}"
    ffmpeg(f"{inputs} -fps_mode passthrough {X264} -c:a aac", "-vf", chosen, str(held))
    found = made(held, start, end)
    assert lengths(found) == pytest.approx((float(end) - float(start),) * 2, abs=0.001)
    assert len(frame_times(found)) == times
    assert frame_times(found)[0] == 0


@pytest.mark.parametrize("second", ["-ac 6", "-s 640x360"])
def test_a_stream_that_changes_in_mid_file_is_cut_whole(tmp_path: Path, second: str) -> None:
    parts = []
    for number, options in enumerate(["-ac 2", f"{second} -output_ts_offset 4"]):
        parts.append(tmp_path / f"{number}.ts")
        inputs = f"{PICTURE.format(seconds=4)} {SOUND.format(seconds=4)}"
        ffmpeg(f"{inputs} {X264} -g 30 -c:a aac {options} {parts[-1]}")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    found = made(joined, "2", "6")
    assert lengths(found) == pytest.approx((4, 4), abs=0.001)
    frames = pixels(found)
    assert len(frames) in (120, 121)  # the second part's clock begins a part of a frame later
    assert frames.shape[1:] == (180, 320)
    volumes = loudness(found)
    assert len(volumes) == 40
    # Nothing is silent but the second part's first packets, which an encoder fades in.
    assert min(volumes[:18] + volumes[22:]) > 0.5 * max(volumes)


@pytest.mark.parametrize(
    ("offsets", "length", "start", "end"),
    [("-itsoffset 1.5", 6, "0", "3"), ("", 3, "2", "5")],
)
def test_sound_before_the_first_picture_and_after_the_last_has_that_picture(
    tmp_path: Path, offsets: str, length: int, start: str, end: str
) -> None:
    source = tmp_path / "uneven.mp4"
    inputs = f"{offsets} {PICTURE.format(seconds=length)} {SOUND.format(seconds=6)}"
    ffmpeg(f"{inputs} {X264} -g 30 -bf 2 -c:a aac {source}")
    found = made(source, start, end)
    assert lengths(found) == pytest.approx((3, 3), abs=0.001)
    assert frame_times(found)[0] == 0
    assert min(loudness(found)[1:-1]) > 0.05


def test_pictures_of_red_green_and_blue_have_the_colours_of_today_s_screens(tmp_path: Path) -> None:
    source = tmp_path / "rgb.mp4"
    red = "-f lavfi -i color=red:s=320x180:r=30:d=2,format=gbrp"
    ffmpeg(f"{red} -c:v libx264rgb -preset ultrafast -crf 0 {source}")
    found = made(source, "0", "1", WIDE)
    video = probe(found).video
    assert video is not None
    assert (video.color_space, video.color_primaries, video.color_transfer) == ("bt709",) * 3
    with av.open(str(found)) as file:
        frame = next(file.decode(video=0))
    luma, blue, red_difference = (int(plane.mean()) for plane in planes(frame))
    assert (luma, blue, red_difference) == pytest.approx((63, 102, 240), abs=2)  # BT.709's red


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    flat = frame.to_ndarray()
    height, width = frame.height, frame.width
    chroma = flat[height:].reshape(2, height // 2, width // 2)
    return [flat[:height], chroma[0], chroma[1]]


@pytest.mark.parametrize(
    "transfer", ["smpte2084", pytest.param("arib-std-b67", marks=pytest.mark.slow)]
)
def test_hdr_whose_colours_are_told_in_part_is_mapped(tmp_path: Path, transfer: str) -> None:
    source = tmp_path / "hdr.mp4"
    options = f"-pix_fmt yuv420p10le -c:v libx265 -x265-params log-level=error:transfer={transfer}"
    ffmpeg(f"{PICTURE.format(seconds=1)} {options} {source}")
    found = made(source, "0", "0.5", WIDE)
    video = probe(found).video
    assert video is not None
    assert (video.color_space, video.color_primaries, video.color_transfer) == ("bt709",) * 3
    assert pixels(found).std() > 20


@pytest.mark.parametrize("first", ["tff", pytest.param("bff", marks=pytest.mark.slow)])
def test_interlaced_pictures_are_made_whole_where_they_are_encoded(
    tmp_path: Path, first: str
) -> None:
    source = tmp_path / "interlaced.mp4"
    mode = {"tff": "interleave_top", "bff": "interleave_bottom"}[first]
    fields = "-f lavfi -i testsrc2=s=640x480:r=50:d=2"
    filters = f"tinterlace={mode},fieldorder={first},format=yuv420p"
    flags = f"-flags +ildct+ilme -x264opts {first}=1"
    ffmpeg(f"{fields} {X264} {flags}", "-vf", filters, str(source))
    assert probe(source).video.interlaced == first  # type: ignore[union-attr]
    with av.open(str(source)) as file:
        combed = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)][12]
    given = pixels(made(source, "0", "1", WIDE))
    assert len(given) == 25
    assert comb(combed) > 2 * comb(given[12])
    with av.open(str(made(source, "0.2", "0.4", WIDE))) as file:
        assert not next(file.decode(video=0)).interlaced_frame


def comb(image: np.ndarray) -> float:
    """How much lines differ from the two beside them, which are alike."""
    lines = image.astype(int)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())


@pytest.mark.parametrize(
    ("suffix", "options", "heard"),
    [
        ("mkv", "-c:a aac -disposition:a:0 0 -disposition:a:1 default", [880]),
        ("mkv", "-c:a aac -disposition:a:0 default -disposition:a:1 0", [220]),
        ("mov", "-c:a pcm_s16le -ac 1", [220, 880]),
    ],
)
def test_of_two_sounds_the_container_s_own_is_taken_and_two_channels_are_both(
    tmp_path: Path, suffix: str, options: str, heard: list[int]
) -> None:
    source = tmp_path / f"two.{suffix}"
    tones = " ".join(f"-f lavfi -i sine={hertz}:d=3:r=48000" for hertz in (220, 880))
    ffmpeg(f"{PICTURE.format(seconds=3)} {tones} -map 0 -map 1 -map 2 {X264} {options} {source}")
    with av.open(str(made(source, "1", "2"))) as file:
        sound = np.concatenate([each.to_ndarray() for each in file.decode(audio=0)], axis=1)
    loudest = [int(np.abs(np.fft.rfft(each[:48_000])).argmax()) for each in sound]
    assert loudest == pytest.approx(heard, abs=1)
