"""Every product of a clip by the real engine: pictures by their numbers, sound by its samples."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cutmv.media import (
    Clip,
    MediaError,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    output_extension,
    plan,
    preset,
    probe,
    render,
)
from tests.support.media import duration_s, frame_number, make_sample, read_frames, shown_size

SIZE = (320, 180)
CUT = OutputSpec("cutdown", "source", "crop")
#: Smaller than Spotify takes them, so that tests are quick.
CANVAS = OutputSpec("canvas", "9:16", "crop", size=(180, 320))
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=5.0, size=SIZE)


def cut(
    source: Path, folder: Path, start: str, end: str, spec: OutputSpec
) -> tuple[Path, Rendered]:
    info = probe(source)
    made = folder / f"made.{output_extension(info, spec)}"
    clip = Clip(Fraction(start), Fraction(end))
    return made, render(source, plan(info, clip, spec), made, timeout_s=60)


def picture(path: Path, filters: str, *, seconds: float = 1, colours: str = "bt709") -> Path:
    """A video of a filter graph's pictures."""
    argv = [ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", filters, *X264]
    told = ["-colorspace", colours, "-color_primaries", colours, "-color_trc", colours]
    subprocess.run([*argv, *told, "-t", str(seconds), str(path)], check=True)
    return path


def sound(path: Path) -> NDArray[np.float32]:
    """All samples of a file's first channel, at its own rate."""
    with av.open(str(path)) as file:
        heard = [frame.to_ndarray() for frame in file.decode(audio=0)]
        planar = next(iter(file.streams.audio)).codec_context.format.is_planar
        channels = file.streams.audio[0].channels
    whole = np.concatenate(heard, axis=1)
    first = whole[0] if planar else whole[0, ::channels]
    return first / (32768 if first.dtype == np.int16 else 1)


def numbers(made: Path) -> list[int]:
    return [frame_number(image, SIZE) for image in read_frames(made)]


def test_a_blurred_fill_shows_all_of_the_picture_before_its_own_darker_enlargement(
    video: Path, tmp_path: Path
) -> None:
    made, told = cut(
        video, tmp_path, "1", "1.1", OutputSpec("cutdown", "4:5", "blur", size=(432, 540))
    )

    assert (told.width, told.height) == (432, 540)
    frames = read_frames(made)
    assert [frame_number(image, SIZE, "pad") for image in frames] == [30, 31, 32]
    behind, front = frames[0][:120], frames[0][160:380]
    assert 25 < behind.mean() < 0.8 * front.mean()
    # Blurred: neighbours are alike.
    assert np.abs(np.diff(behind.astype(int), axis=1)).max() <= 12


@pytest.mark.parametrize(("centre", "seen"), [((0.0, 0.5), 0), ((1.0, 0.5), 2)])
def test_a_crop_keeps_what_is_around_its_centre(
    tmp_path: Path, centre: tuple[float, float], seen: int
) -> None:
    bands = ";".join(f"color={c}:s=192x360[{c}]" for c in ("red", "green", "blue"))
    source = picture(tmp_path / "bands.mp4", f"{bands};[red][green][blue]hstack=3", seconds=0.2)

    made, _ = cut(source, tmp_path, "0", "0.1", OutputSpec("still", "9:16", "crop", centre))

    middle = np.asarray(Image.open(made)).reshape(-1, 3).mean(axis=0)
    assert middle.argmax() == seen


def test_a_fade_is_of_picture_and_sound_and_says_why_nothing_is_copied(
    video: Path, tmp_path: Path
) -> None:
    plain, _ = cut(video, tmp_path, "1", "3", OutputSpec("wav", "source", "crop"))
    heard = sound(plain)

    made, told = cut(video, tmp_path, "1", "3", replace(CUT, fade_s=0.5))

    assert (told.copied, told.reason, told.frames) == (0, "the picture fades", 60)
    assert numbers(made)[15:45] == list(range(45, 75))
    lights = read_frames(made).mean(axis=(1, 2))
    assert lights[0] < 2
    assert lights[7] == pytest.approx(lights[20] * 7 / 15, rel=0.2)
    assert lights[-1] < lights[40] * 0.15
    faded, _ = cut(video, tmp_path, "1", "3", OutputSpec("wav", "source", "crop", fade_s=0.5))
    ramp = np.minimum(1, (np.arange(len(heard)) + 0.5) / 24000)
    assert sound(faded) == pytest.approx(heard * ramp * ramp[::-1], abs=2 / 32768)
    assert duration_s(made, "a:0") == pytest.approx(2, abs=0.001)
    loud = sound(made)
    assert np.abs(loud[:1200]).max() < 0.05 < np.abs(loud[24_000:28_000]).max()


def test_a_preset_has_its_shape_and_its_frame_rate(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "fast.mp4", seconds=1.0, size=SIZE, rate="60")

    spec = replace(preset("reels").spec, size=(270, 480), fastest=30)
    made, told = cut(source, tmp_path, "0.5", "1", spec)

    assert (told.width, told.height, told.frames) == (270, 480, 15)
    assert numbers(made) == list(range(30, 60, 2))
    assert duration_s(made, "a:0") == pytest.approx(0.5, abs=0.001)


#: What each platform takes: size, the most frames a second, seconds of the clip.
TAKEN = {
    "youtube": ((1920, 1080), 60, "0.2"),
    "reels": ((1080, 1920), 60, "0.2"),
    "tiktok": ((1080, 1920), 60, "0.2"),
    "x": ((1280, 720), 60, "0.2"),
    "canvas": ((1080, 1920), 30, "3.5"),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in ("tiktok", "canvas") else []) for n in TAKEN],
)
def test_each_preset_is_what_its_platform_takes(tmp_path: Path, name: str) -> None:
    size, rate, seconds = TAKEN[name]
    source = tmp_path / "odd.mkv"
    argv = [ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=360x202:r=120"]
    argv += ["-f", "lavfi", "-i", "aevalsrc='sin(t)|0|0|0|0|0':s=44100:c=5.1", "-t", seconds]
    argv += ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"]
    subprocess.run([*argv, "-pix_fmt", "yuv422p10le", "-c:a", "aac", str(source)], check=True)

    made, told = cut(source, tmp_path, "0", seconds, preset(name).spec)

    assert told.copied == 0
    raw = made.read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat")
    with av.open(str(made)) as file:
        assert "mp4" in file.format.name
        video = file.streams.video[0]
        context = video.codec_context
        assert (context.name, context.profile, context.pix_fmt) == ("h264", "High", "yuv420p")
        assert (context.width, context.height) == size
        # Their average rate in FFmpeg's words goes by when they are decoded, in the source's ticks.
        assert video.frames == rate * (video.duration or 0) * (video.time_base or 0)
        assert [frame.interlaced_frame for frame in file.decode(video)][:1] == [False]
        sounds = [(s.codec_context.name, s.rate, s.layout.name) for s in file.streams.audio]
        profiles = {s.codec_context.profile for s in file.streams.audio}
        assert sounds == ([] if name == "canvas" else [("aac", 48_000, "stereo")])
        assert profiles <= {"LC"}


def test_a_preset_has_no_more_bits_than_its_platform_takes(tmp_path: Path) -> None:
    noise = "nullsrc=s=320x180:r=30,geq=random(1)*255:128:128"
    source = picture(tmp_path / "noise.mp4", noise, seconds=2)
    spec = replace(preset("x").spec, size=(320, 180), bit_rate=1_000_000)

    made, _ = cut(source, tmp_path, "0", "2", spec)

    with av.open(str(made)) as file:
        bits = sum(packet.size * 8 for packet in file.demux(video=0))
    # A second's worth may be spent at once.
    assert bits < 3.3 * 1_000_000


@pytest.mark.parametrize(
    ("loop", "end", "shown"),
    [
        # The last fifteen dissolve into the first, and the loop begins right after these.
        ("dissolve", "3.5", [*range(15, 97), *range(8, 15)]),
        ("rebound", "1.6", [*range(48), *range(46, 0, -1)]),
        ("hard", "3", [*range(90)]),
    ],
)
def test_a_canvas_is_silent_and_goes_round(
    video: Path, tmp_path: Path, loop: Any, end: str, shown: list[int]
) -> None:
    made, told = cut(video, tmp_path, "0", end, replace(CANVAS, loop=loop))

    assert shown_size(made) == (180, 320)
    assert 3 <= told.duration_s <= 8
    with av.open(str(made)) as file:
        assert [stream.type for stream in file.streams] == ["video"]
        assert file.duration == pytest.approx(told.duration_s * 1e6, abs=1000)
    found = numbers(made)
    if loop == "dissolve":
        # While two pictures are one, the bits of neither can be read.
        assert len(found) == told.frames == 90
        assert found[:75] == list(range(15, 90))
        last, before = read_frames(made)[-1], read_frames(video)
        assert frame_number(last, SIZE) == 14
        assert len(before) == 150
    else:
        assert found == shown


@pytest.mark.parametrize("kind", ["m4a", "mp3", "wav", "flac"])
def test_sound_alone_is_exact(video: Path, tmp_path: Path, kind: Any) -> None:
    whole = sound(video)[48_000:]

    made, told = cut(video, tmp_path, "1", "2.5", OutputSpec(kind, "source", "crop"))

    heard = sound(made)
    assert told.duration_s == 1.5
    assert told.frames == 0
    if kind == "m4a":
        with av.open(str(made)) as file, av.open(str(video)) as source:
            packets = {bytes(packet) for packet in source.demux(audio=0)}
            assert {bytes(packet) for packet in file.demux(audio=0)} <= packets
        assert duration_s(made, "a:0") == pytest.approx(1.5, abs=0.001)
    elif kind == "mp3":
        assert heard[:71_000] == pytest.approx(whole[:71_000], abs=0.05)
    else:
        assert len(heard) == 72_000
        assert heard == pytest.approx(whole[:72_000], abs=2 / 32768)


def test_the_best_still_is_sharp_and_not_black(tmp_path: Path) -> None:
    shown = (
        "testsrc2=s=320x180:r=10,gblur=sigma=6:enable='lt(n,12)+gt(n,12)',"
        "drawbox=c=black:t=fill:enable='lt(n,8)'"
    )
    source = picture(tmp_path / "dark.mp4", shown, seconds=2)
    sharp = read_frames(source)[12]

    made, _ = cut(source, tmp_path, "0", "2", OutputSpec("still", "source", "crop", best=True))

    assert np.abs(np.asarray(Image.open(made).convert("L")).astype(int) - sharp).mean() < 12
    with pytest.raises(MediaError, match=r"all pictures are black in its 0\.7 s"):
        cut(source, tmp_path, "0", "0.7", OutputSpec("still", "source", "crop", best=True))


@pytest.mark.parametrize(
    ("kind", "told", "fit"),
    [("still", "bt709", "crop"), ("still", "unknown", "blur"), ("webp", "bt709", "crop")],
)
def test_what_is_no_film_has_the_picture_s_own_colours(
    tmp_path: Path, kind: Any, told: str, fit: Any
) -> None:
    of_hd = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    of_hd += f",setparams=colorspace={told}:color_primaries={told}:color_trc={told}"
    source = picture(
        tmp_path / "red.mp4", f"color=0xC81E3C:s=1280x720,format=rgb24,{of_hd}", colours=told
    )
    spec = OutputSpec(kind, "source" if fit == "crop" else "4:5", fit)

    made, _ = cut(source, tmp_path, "0", "0.2", spec)

    with Image.open(made) as image:
        middle = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert middle == pytest.approx((200, 30, 60), abs=4)


def colour(made: Path, across: float) -> Any:
    """Red, green and blue of a picture at its middle line, by the matrix that the file tells."""
    if made.suffix != ".mp4":
        with Image.open(made) as image:
            return image.convert("RGB").getpixel((int(image.width * across), image.height // 2))
    told = probe(made).video
    assert told
    matrix = {"smpte170m": "bt601", "bt709": "bt709"}[str(told.color_space)]
    argv = [ffmpeg_path(), "-v", "error", "-i", str(made), "-frames:v", "1", "-vf"]
    argv += [f"scale=in_color_matrix={matrix},format=rgb24", "-f", "rawvideo", "-"]
    raw = subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
    image = np.frombuffer(raw, np.uint8).reshape(told.height, told.width, 3)
    return tuple(int(each) for each in image[told.height // 2, int(told.width * across)])


def test_a_small_film_that_tells_no_colours_has_them_in_a_large_one(tmp_path: Path) -> None:
    of_sd = "format=rgb24,scale=out_color_matrix=bt601:out_range=tv,format=yuv420p"
    untold = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown"
    source = picture(
        tmp_path / "red.mp4", f"color=0xC81E3C:s=320x180,{of_sd},{untold}", colours="unknown"
    )

    made, _ = cut(source, tmp_path, "0", "0.1", OutputSpec("cutdown", "16:9", "crop"))

    # Players take what is as large and tells nothing to have the colours of high definition.
    assert colour(made, 0.5) == pytest.approx((200, 30, 60), abs=4)


@pytest.mark.slow
def test_a_gif_is_made_to_fit_into_bytes(video: Path, tmp_path: Path) -> None:
    gif = OutputSpec("gif", "source", "crop")
    made, usual = cut(video, tmp_path, "1", "3", gif)

    made, told = cut(video, tmp_path, "1", "3", replace(gif, max_bytes=usual.size_bytes // 4))

    assert told.size_bytes == made.stat().st_size <= usual.size_bytes // 4
    assert 96 <= told.width < usual.width
    with pytest.raises(MediaError, match=r"the smallest is [0-9]+ bytes, not 99: cut less"):
        cut(video, tmp_path, "1", "3", replace(gif, max_bytes=99))


def test_an_animated_webp_has_the_clip_s_pictures(video: Path, tmp_path: Path) -> None:
    made, told = cut(video, tmp_path, "1", "1.8", OutputSpec("webp", "source", "crop"))

    assert (told.width, told.height, told.frames) == (480, 270, 8)
    with Image.open(made) as image:
        shown = []
        for place in range(image.n_frames):
            image.seek(place)
            shown.append(frame_number(np.asarray(image.convert("L")), SIZE))
    assert shown == list(range(30, 54, 3))


@pytest.mark.parametrize(
    "suffix", ["mp4", *(pytest.param(each, marks=pytest.mark.slow) for each in ("webm", "mkv"))]
)
def test_a_clip_shorter_than_a_packet_of_sound_has_both(tmp_path: Path, suffix: str) -> None:
    codec = {
        "mp4": (*X264, "-g", "120"),
        "webm": (
            "-c:v",
            "libvpx-vp9",
            "-cpu-used",
            "8",
            "-deadline",
            "realtime",
            "-c:a",
            "libopus",
        ),
        "mkv": (*X264, "-g", "120", "-c:a", "libmp3lame"),
    }[suffix]
    source = make_sample(tmp_path / f"fast.{suffix}", seconds=1, size=SIZE, rate="120", codec=codec)
    for start in ("0.5", "0.6", "0.7"):
        end = str(float(start) + 0.008)

        made, told = cut(source, tmp_path, start, end, CUT)
        alone, _ = cut(source, tmp_path, start, end, OutputSpec("m4a", "source", "crop"))

        assert (numbers(made), told.frames) == ([round(float(start) * 120)], 1)
        if suffix == "webm":  # which has no less than what is left of its first packet
            assert len(sound(made)) == 648
        else:
            assert duration_s(made, "a:0") == pytest.approx(0.008, abs=0.001)
        assert duration_s(alone, "a:0") == pytest.approx(0.008, abs=0.001)
    with pytest.raises(MediaError, match="it is shorter than a tick of the file's clock"):
        cut(source, tmp_path, "0.5", "0.50001", CUT)
