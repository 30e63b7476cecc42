"""Sources that are odd and legal, or damaged: the right clip, or one clear line."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
import pytest

from cutmv.media import (
    Clip,
    MediaError,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    plan,
    probe,
    render,
    survey,
)
from cutmv.media.engine.source.joins import may_be_joined
from tests.support.corpus import SIZE, seen, x264, x265
from tests.support.media import (
    audio_offset_s,
    duration_s,
    frame_number,
    frame_times,
    make_sample,
    read_frames,
    start_s,
)
from tests.support.paff import paff

SOURCE = OutputSpec("cutdown", "source", "crop")
WIDE = OutputSpec("cutdown", "16:9", "crop")
#: Members of a kind of which another is among the fast tests.
slow = pytest.mark.slow
CODEC = x264("-g", "25", "-bf", "2")
Make = Callable[..., Path]


def ffmpeg(*options: object) -> None:
    argv = [ffmpeg_path(), "-v", "error", "-y", *map(str, options)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def cut(source: Path, start: str, end: str, spec: OutputSpec = SOURCE) -> tuple[Path, Rendered]:
    made = source.with_name(f"{source.stem}-{start}-{end}.mp4")
    planned = plan(probe(source), Clip(Fraction(start), Fraction(end)), spec)
    return made, render(source, planned, made, timeout_s=60)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder, known = tmp_path_factory.mktemp("hard"), dict[object, Path]()

    def make(
        suffix: str = "ts", codec: tuple[str, ...] = CODEC, size: tuple[int, int] = SIZE
    ) -> Path:
        key = (suffix, codec, size)
        if key not in known:
            path = folder / f"{len(known)}.{suffix}"
            known[key] = make_sample(path, seconds=4, size=size, rate="25", codec=codec)
        return known[key]

    return make


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0.4", "2.8"),
        pytest.param("0.2", "1.4", marks=slow),
        pytest.param("2", "3.6", marks=slow),
    ],
)
def test_a_clock_that_wraps_goes_on(tmp_path: Path, sample: Make, start: str, end: str) -> None:
    # MPEG-TS counts 33 bits of 90 kHz: a broadcast of 26.5 h begins again at zero.
    source = tmp_path / "wraps.ts"
    ffmpeg("-i", sample(), "-c", "copy", "-copyts", "-output_ts_offset", 2**33 / 90_000 - 3, source)

    made, _ = cut(source, start, end)

    first, past = round(float(start) * 25), round(float(end) * 25)
    assert seen(made).numbers == list(range(first, past))
    # The file's clock begins with its picture.
    begins = probe(source).start_s
    assert begins < 0
    assert abs(audio_offset_s(made, sample(), float(start) + 0.021)) < 0.001


@pytest.mark.parametrize("second", ["a size", "a depth"])
@slow
def test_a_picture_that_changes_at_a_join_is_whole_on_both_sides(
    tmp_path: Path, sample: Make, second: str
) -> None:
    changed = {
        "a size": sample(size=(640, 360)),
        "a depth": sample(codec=(*x264("-g", "25", preset="veryfast"), "-pix_fmt", "yuv420p10le")),
    }[second]
    ffmpeg("-i", changed, "-c", "copy", "-output_ts_offset", 4, tmp_path / "second.ts")
    source = joined(tmp_path / "joined.ts", sample(), tmp_path / "second.ts")

    made, told = cut(source, "3", "5")

    # The second's clock begins some frames before the first's ends.
    assert seen(made).numbers == [*range(75, 100), *range(25)]
    assert told.copied == 0
    assert told.reason == "its parameter sets change"
    for stream in ("v:0", "a:0"):
        assert duration_s(made, stream) == pytest.approx(2, abs=0.001)


@pytest.mark.parametrize(
    ("offset", "first"),
    [
        (0, True),
        *(
            pytest.param(offset, first, marks=slow)
            for offset in (2, 1000, 2**33 / 90_000 - 40)
            for first in (True, False)
        ),
    ],
)
def test_a_clock_that_starts_again_or_jumps_goes_on(
    tmp_path: Path, sample: Make, offset: float, *, first: bool
) -> None:
    ffmpeg("-i", sample(), "-c", "copy", "-output_ts_offset", offset, tmp_path / "other.ts")
    parts = (sample(), tmp_path / "other.ts")
    source = joined(tmp_path / "joined.ts", *(parts if first else reversed(parts)))

    info = probe(source)
    made, told = cut(source, "3", "5")
    late, _ = cut(source, "5.2", "7.6")

    assert info.duration_s == pytest.approx(8, abs=0.001)
    assert seen(late).numbers == list(range(30, 90))
    sound = sample() if first else tmp_path / "other.ts"
    assert abs(audio_offset_s(late, sound, 1.2 + 0.021)) < 0.002
    assert duration_s(made, "a:0") == pytest.approx(2, abs=0.001)
    # Where both follow a key picture nothing is encoded.
    assert (seen(made).numbers, told.copied) == ([*range(75, 100), *range(25)], 50)


def test_a_large_recording_is_not_read_whole_to_see_that_it_is_one() -> None:
    with tempfile.TemporaryFile() as file:
        clock = -1
        for _ in range(80_000):
            clock += 188 * 8 * 90_000 // 8_000_000
            file.write(packet_with(clock))
        whole = Counting(file)
        assert not may_be_joined(whole)
        assert whole.bytes <= 24 * 96 * 1024
        for jump in (0, clock + 3600 * 90_000):
            file.seek(188 * 50_000)
            for number in range(30_000):
                file.write(packet_with(jump + number * 16))
            assert may_be_joined(Counting(file))


def packet_with(clock: int) -> bytes:
    """A packet of a transport stream that tells its clock."""
    told = (clock % 2**33 << 15).to_bytes(6)
    return b"\x47\x01\x00\x20\xb7\x10" + told + bytes(176)


class Counting:
    """A file that counts the bytes which are read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.bytes, self._file = 0, file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.bytes += len(data)
        return data


@slow
def test_a_codec_that_changes_in_mid_file_is_one_line(tmp_path: Path, sample: Make) -> None:
    other = sample(codec=("-c:v", "mpeg2video", "-q:v", "3"))
    ffmpeg("-i", other, "-c", "copy", "-output_ts_offset", 4, tmp_path / "second.ts")
    source = joined(tmp_path / "joined.ts", sample(), tmp_path / "second.ts")

    assert seen(cut(source, "1", "3")[0]).numbers == list(range(25, 75))
    with pytest.raises(MediaError, match=r"pictures of it can't be decoded, from 0\.9\d\d s on"):
        cut(source, "3", "5")


@pytest.mark.parametrize(
    "codec",
    [
        x264("-g", "25", "-bf", "2", "-pix_fmt", "yuv422p10le", preset="veryfast"),
        x264("-g", "25", "-bf", "2", "-pix_fmt", "yuv444p", preset="veryfast"),
        (*x265("keyint=25:bframes=2"), "-pix_fmt", "yuv422p10le", "-tag:v", "hvc1"),
        x264("-g", "25", "-flags", "+ildct+ilme", "-x264-params", "bff=1"),
    ],
    ids=["4:2:2 10 bit", "4:4:4", "HEVC 4:2:2 10 bit", "MBAFF, lower field first"],
)
@slow
def test_pictures_of_studios_and_cameras_are_copied(sample: Make, codec: tuple[str, ...]) -> None:
    source = sample("mp4", codec)

    made, told = cut(source, "0.5", "3.3")

    assert seen(made).numbers == list(range(12, 83))
    assert told.copied >= 50
    argv = [ffmpeg_path(), "-v", "error", "-i", str(made), "-f", "null", "-"]
    assert subprocess.run(argv, check=False, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize(
    "suffix", ["ts", pytest.param("mp4", marks=slow), pytest.param("mkv", marks=slow)]
)
def test_fields_that_are_packets_of_their_own_are_pairs(
    tmp_path: Path, sample: Make, suffix: str
) -> None:
    whole = sample("mp4", size=(320, 192))
    frames = np.clip(read_frames(whole), 16, 235).astype(np.uint8)
    (tmp_path / "fields.h264").write_bytes(b"".join(paff(frames)))
    source = tmp_path / f"fields.{suffix}"
    raw = ("-f", "h264", "-r", 50, "-i", tmp_path / "fields.h264")
    ffmpeg(*raw, "-i", whole, "-map", "0:v", "-map", "1:a", "-c", "copy", source)

    info = probe(source)
    made, told = cut(source, "0.2", "0.92")

    assert info.video is not None
    assert (info.video.frame_rate, info.video.variable) == (25, False)
    assert info.video.interlaced
    shown = read_frames(made)
    assert [frame_number(frame, (320, 192)) for frame in shown] == list(range(5, 23))
    assert told.copied == 11
    assert duration_s(made, "v:0") == pytest.approx(0.72, abs=0.001)
    assert (shown[-1] == read_frames(source)[22]).all()


@pytest.mark.parametrize("muxer", ["matroska", pytest.param("mp4", marks=slow)])
def test_a_track_without_a_packet_is_not_taken_for_the_sound(
    tmp_path: Path, sample: Make, muxer: str
) -> None:
    source, whole = tmp_path / "empty.mp4", sample("mp4")
    with av.open(str(whole)) as given, av.open(str(source), "w", format=muxer) as out:
        picture = out.add_stream_from_template(given.streams.video[0])
        out.add_stream("aac", rate=48_000, layout="stereo").codec_context.open()
        sound = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = picture if packet.stream.type == "video" else sound
                out.mux(packet)

    made, told = cut(source, "1", "3")

    video = probe(source).video
    assert video is not None
    assert duration_s(made, "a:0") == pytest.approx(2, abs=0.001)
    # Matroska has no time below zero: all begins as much later as the first sound was before.
    assert abs(audio_offset_s(made, whole, 1 - video.start_s)) < 0.002
    assert set(told.warnings) <= {"Left out of the film: 1 sound track."}


def unknown(data: bytes, name: bytes) -> bytearray:
    """An MP4 whose track of codec `name` is one that nothing knows."""
    changed = bytearray(data.replace(name, b"xq4a"))
    at = changed.find(b"\x04\x80\x80\x80", changed.index(b"esds"))
    changed[at + 5] = 0xC5  # the object type of MPEG-4 (ISO 14496-1, 7.2.6.6)
    return changed


def test_sound_that_nothing_decodes_is_left_out_and_told_of(tmp_path: Path, sample: Make) -> None:
    source = tmp_path / "unknown.mp4"
    source.write_bytes(unknown(sample("mp4").read_bytes(), b"mp4a"))

    made, told = cut(source, "1", "3")

    assert seen(made).numbers == list(range(25, 75))
    assert told.sound is None
    assert "Nothing here decodes the source's sound: the output has none." in told.warnings


def test_a_picture_that_nothing_decodes_is_one_line(tmp_path: Path, sample: Make) -> None:
    source = tmp_path / "unknown.mp4"
    source.write_bytes(sample("mp4").read_bytes().replace(b"avc1", b"xqc1"))

    with pytest.raises(MediaError, match="The video's codec is not supported: convert it to H"):
        probe(source)


def test_music_with_a_cover_is_one_line(tmp_path: Path) -> None:
    source = tmp_path / "song.mp4"
    inputs = "-f lavfi -i sine=440:d=1 -f lavfi -i color=red:s=64x64:r=25:d=0.04"
    output = "-map 0 -map 1 -c:a aac -c:v mjpeg -disposition:v attached_pic"
    ffmpeg(*inputs.split(), *output.split(), source)

    with pytest.raises(MediaError, match="The file's only picture is its cover: send a video"):
        probe(source)


@slow
@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_the_last_second_of_three_hours_is_cut_at_once(tmp_path: Path, suffix: str) -> None:
    # A key picture each ten minutes, so that an index is of little help.
    whole, source = tmp_path / "whole.mp4", tmp_path / f"hours.{suffix}"
    codec = x264("-g", "300", "-bf", "2")
    make_sample(whole, seconds=3 * 3600, size=SIZE, rate="1/2", audio=False, codec=codec)
    ffmpeg("-i", whole, "-c", "copy", source)

    last, told = cut(source, "10799", "10800")
    late, _ = cut(source, "10001", "10009")

    assert seen(last).numbers == [5399]
    assert seen(late).numbers == [5000, 5001, 5002, 5003, 5004]
    assert duration_s(last, "v:0") == pytest.approx(1, abs=0.001)
    assert told.read_bytes is not None
    if suffix == "mp4":  # others have no index of all packets
        assert told.read_bytes < source.stat().st_size / 2


@slow
def test_of_dolby_vision_the_base_layer_is_cut(tmp_path: Path, sample: Make) -> None:
    parameters = "keyint=25:bframes=2:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
    codec = (*x265(parameters), "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1")
    source = tmp_path / "vision.mp4"
    source.write_bytes(with_dolby_vision(sample("mp4", codec).read_bytes()))

    made, told = cut(source, "0.5", "3.3")
    wide, mapped = cut(source, "0.5", "1", WIDE)

    assert seen(made).numbers == list(range(12, 83))
    assert told.copied >= 50
    assert mapped.warnings == ("The source is HDR (HLG): it is mapped to BT.709.",)
    video = probe(wide).video
    assert video is not None
    assert (video.color_space, video.color_transfer) == ("bt709", "bt709")


def with_dolby_vision(data: bytes) -> bytes:
    """An MP4 that tells of Dolby Vision, profile 8.4: with a base layer that is HLG.

    Its index comes last. The box is that of "Dolby Vision Streams Within the ISO Base Media File
    Format", 2.2: version, profile 8, level 3, with metadata and a base layer, like HLG.
    """
    told = bytes((1, 0, 8 << 1, 3 << 3 | 0b101, 4 << 4)) + bytes(19)
    box = (8 + len(told)).to_bytes(4) + b"dvvC" + told
    changed, start, end = bytearray(data), 0, len(data)
    # From each box to the one in it: its name, and how many of its bytes come before others.
    inward = {b"moov": 8, b"trak": 8, b"mdia": 8, b"minf": 8, b"stbl": 8, b"stsd": 16, b"hvc1": 86}
    for name, head in inward.items():
        at = start
        while bytes(changed[at + 4 : at + 8]) != name:
            at += int.from_bytes(changed[at : at + 4])
        size = int.from_bytes(changed[at : at + 4])
        changed[at : at + 4] = (size + len(box)).to_bytes(4)
        start, end = at + head, at + size
    changed[end:end] = box
    return bytes(changed)


@slow
@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_sound_from_before_the_start_is_where_it_was(
    tmp_path: Path, sample: Make, suffix: str
) -> None:
    whole, source = sample("mp4"), tmp_path / f"early.{suffix}"
    maps = ("-map", "1:v", "-map", "0:a", "-c", "copy")
    ffmpeg("-itsoffset", "-0.5", "-i", whole, "-i", whole, *maps, source)

    info = probe(source)
    made, _ = cut(source, "1", "3")

    assert info.video is not None
    assert seen(made).numbers == list(range(25, 75))
    for stream in ("v:0", "a:0"):
        assert duration_s(made, stream) == pytest.approx(2, abs=0.001)
    assert abs(audio_offset_s(made, whole, 1.5)) < 0.001


def without_times(path: Path, source: Path, every: int, since: int = 4) -> Path:
    """Write a transport stream that tells no times of each second picture and sound, or third."""
    data = bytearray(source.read_bytes())
    for begins in (bytes((0x41, 0x00)), bytes((0x41, 0x01))):
        starts = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == begins]
        for at in starts[since::every]:
            header = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
            data[header + 7] &= 0x3F  # neither time (ISO 13818-1, 2.4.3.7)
            length = data[header + 8]
            data[header + 9 : header + 9 + length] = b"\xff" * length
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "codec",
    [
        CODEC,
        pytest.param(x265("keyint=25:bframes=2"), marks=slow),
        pytest.param(("-c:v", "mpeg2video", "-g", "15", "-bf", "2", "-q:v", "3"), marks=slow),
    ],
    ids=["h264", "hevc", "mpeg2"],
)
def test_pictures_and_sound_without_times_have_those_between_the_others(
    tmp_path: Path, sample: Make, codec: tuple[str, ...]
) -> None:
    whole = sample(codec=codec)
    source = without_times(tmp_path / "untimed.ts", whole, 2)

    for start, end in (("1", "3"), ("0", "0.6")):
        made, told = cut(source, start, end)

        assert seen(made).numbers == list(range(int(25 * float(start)), int(25 * float(end))))
        for stream in ("v:0", "a:0"):
            assert duration_s(made, stream) == pytest.approx(float(end) - float(start), abs=0.001)
        first = frame_times(whole)[0] - Fraction(start_s(whole))
        assert abs(audio_offset_s(made, whole, float(start) + float(first))) < 0.001
        if "mpeg2video" not in codec:
            assert (told.copied, told.reason) == (0, "some of its pictures have no time")


@slow
def test_pictures_whose_times_can_not_be_told_are_one_line(tmp_path: Path, sample: Make) -> None:
    uneven = tmp_path / "uneven.ts"
    # Nobody knows where the pictures belong between which some are missing.
    ffmpeg("-i", sample(), "-vf", "select='not(between(n,40,47)+between(n,60,62))'",
           "-fps_mode", "passthrough", *CODEC, uneven)  # fmt: skip
    source = without_times(tmp_path / "untimed.ts", uneven, 2)

    with pytest.raises(MediaError, match="pictures of the file have no time, and others don't"):
        cut(source, "1", "3")


def test_recordings_that_are_joined_are_not_told_as_damaged(tmp_path: Path, sample: Make) -> None:
    whole, second = sample(), tmp_path / "second.ts"
    ffmpeg("-i", whole, "-c", "copy", "-output_ts_offset", 4, second)
    data = whole.read_bytes()
    last = max(at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == b"\x41\x00")
    cut_off = tmp_path / "cut off.ts"
    cut_off.write_bytes(data[: last - 3 * 188])

    for first, damaged in ((whole, False), (cut_off, True)):
        source = joined(tmp_path / "joined.ts", first, second)
        for warnings in (cut(source, "3", "5")[1].warnings, survey(source)["warnings"]):
            assert any("damaged" in each for each in warnings) == damaged


@pytest.mark.parametrize("junk", [bytes(300_000), pytest.param(b"\xff\x47" * 150_000, marks=slow)])
def test_a_transport_stream_is_read_on_behind_bytes_that_are_none(
    tmp_path: Path, sample: Make, junk: bytes
) -> None:
    data = sample().read_bytes()
    half = len(data) // 2 // 188 * 188
    source = tmp_path / "gap.ts"
    source.write_bytes(data[:half] + junk + data[half:])

    # The demuxer says EAGAIN behind 64 kB without a packet, which is no end, and no full machine.
    made, _ = cut(source, "3", "3.8")

    assert [frame_number(frame, SIZE) for frame in read_frames(made)] == list(range(75, 95))


def test_a_transport_stream_of_which_nothing_more_can_be_read_is_refused(
    tmp_path: Path, sample: Make
) -> None:
    data = sample().read_bytes()
    source = tmp_path / "junk.ts"
    source.write_bytes(data[: 188 * 5] + bytes(100_000))

    with pytest.raises(MediaError) as refused:
        probe(source)

    assert "temporarily" not in str(refused.value)
