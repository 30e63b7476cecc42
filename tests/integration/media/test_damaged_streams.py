"""Transport streams of which packets are lost, as broadcasts are: which pictures lack something."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from subprocess import DEVNULL

import numpy as np
import pytest

from cutmv.media import Clip, OutputSpec, ffmpeg_path, plan, probe, render, survey
from cutmv.media.engine.source.damage import marked
from cutmv.media.engine.source.fields import pictures_of
from cutmv.media.engine.source.file import opened
from tests.support.corpus import SIZE, x264, x265
from tests.support.media import make_sample
from tests.support.paff import paff

H264 = x264("-g", "25", "-bf", "2")
HEVC = x265("keyint=25:bframes=2")
MPEG2 = ("-c:v", "mpeg2video", "-g", "15", "-bf", "2", "-q:v", "3")
#: A packet of a transport stream (ISO 13818-1, 2.4.3), and the picture's stream as FFmpeg numbers.
PACKET, STREAM = 188, 0x100
slow = pytest.mark.slow
#: Which packets of a picture are lost, of all of it.
Lost = Callable[[list[int]], list[int]]


@pytest.fixture(scope="module", params=[H264, pytest.param(HEVC, marks=slow),
                                        pytest.param(MPEG2, marks=slow)],
                ids=["h264", "hevc", "mpeg2"])  # fmt: skip
def whole(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    path = tmp_path_factory.mktemp("damaged") / "whole.ts"
    return make_sample(path, seconds=3, size=SIZE, rate="25", codec=request.param)


def pictures(data: bytes) -> list[tuple[int, list[int]]]:
    """When each picture is shown (ticks) by its own header, and where its packets are."""
    found: list[tuple[int, list[int]]] = []
    for at in range(0, len(data), PACKET):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] != STREAM:
            continue
        if data[at + 1] & 0x40:
            header = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
            a, b, c, d, e = data[header + 9 : header + 14]  # ISO 13818-1, 2.4.3.7
            shown = (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
            found.append((shown, []))
        found[-1][1].append(at)
    return found


def without(path: Path, whole: Path, lost: list[int]) -> Path:
    data = whole.read_bytes()
    kept = [at for at in range(0, len(data), PACKET) if at not in lost]
    path.write_bytes(b"".join(data[at : at + PACKET] for at in kept))
    return path


def corrupt(source: Path) -> list[int]:
    with opened(str(source), "mpegts") as container:
        packets = marked(container, container.streams.video[0])
        return [packet.pts or 0 for packet in packets if packet.is_corrupt]


def told(source: Path, start: str, end: str, spec: str = "source") -> list[str]:
    clip, output = Clip(Fraction(start), Fraction(end)), OutputSpec("cutdown", spec, "crop")
    planned = plan(probe(source), clip, output)
    made = render(source, planned, source.with_suffix(".mp4"), timeout_s=60)
    return [each for each in made.warnings if "damaged" in each]


@pytest.mark.parametrize(
    "lost", [lambda of: of[1:2], lambda of: of[-1:], lambda of: of[2:5]], ids=["head", "end", "3"]
)
def test_the_picture_that_lacks_packets_is_told_and_no_other(
    tmp_path: Path, whole: Path, lost: Lost
) -> None:
    found = pictures(whole.read_bytes())
    damaged = [found[place] for place in (10, 11, 30, 53)]
    gone = [at for _, packets in damaged for at in lost(packets)]

    source = without(tmp_path / "damaged.ts", whole, gone)

    assert corrupt(source) == [shown for shown, _ in damaged]
    assert any("damaged packets: 4" in each for each in survey(source)["warnings"])
    assert corrupt(whole) == []


def test_a_large_picture_lacks_what_is_lost_anywhere_in_it(tmp_path: Path) -> None:
    """The demuxer gives it in pieces of 200 kB, and tells of the first alone."""
    whole = tmp_path / "large.ts"
    noise = "testsrc2=s=960x540:r=25:d=0.4,noise=alls=90:allf=t"
    argv = [ffmpeg_path(), "-v", "error", "-f", "lavfi", "-i", noise, *x264("-qp", "4"), whole]
    subprocess.run(argv, check=True, stdin=DEVNULL)
    found = pictures(whole.read_bytes())
    shown, packets = found[5]
    assert len(packets) * PACKET > 600_000

    assert corrupt(whole) == []
    for lost in (packets[2], packets[len(packets) // 2], packets[-2], packets[-1]):
        assert corrupt(without(tmp_path / "damaged.ts", whole, [lost])) == [shown]


@pytest.mark.parametrize(("before", "after"), [(4, 0), (0, 16)], ids=["camera", "broadcast"])
def test_packets_that_have_bytes_beside_them_are_counted_as_others(
    tmp_path: Path, whole: Path, before: int, after: int
) -> None:
    found = pictures(whole.read_bytes())
    data = without(tmp_path / "damaged.ts", whole, found[30][1][1:2]).read_bytes()
    source, places = tmp_path / "beside.ts", range(0, len(data), PACKET)
    parts = [bytes(before) + data[at : at + PACKET] + bytes(after) for at in places]
    source.write_bytes(b"".join(parts))

    assert corrupt(source) == [found[30][0]]


def test_a_packet_that_its_receiver_says_is_wrong_is_told(tmp_path: Path, whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    shown, packets = pictures(data)[30]
    data[packets[1] + 1] |= 0x80  # ISO 13818-1, 2.4.3.3
    (tmp_path / "wrong.ts").write_bytes(data)

    assert corrupt(tmp_path / "wrong.ts") == [shown]


def test_a_counter_that_says_that_it_begins_anew_is_no_damage(tmp_path: Path, whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    found = pictures(data)
    for _, packets in found[30:]:
        for at in packets:
            data[at + 3] = data[at + 3] & 0xF0 | (data[at + 3] + 5) & 0xF
    first = found[30][1][0]
    assert data[first + 3] & 0x20, "a picture's first packet tells more than a counter"
    data[first + 5] |= 0x80  # ISO 13818-1, 2.4.3.5
    (tmp_path / "anew.ts").write_bytes(data)

    assert corrupt(tmp_path / "anew.ts") == []


def test_damage_that_no_counter_shows_is_told_near_it(tmp_path: Path, whole: Path) -> None:
    """As many packets are lost as a counter has numbers; other bytes are among the packets."""
    found = pictures(whole.read_bytes())
    place = next(n for n in range(20, 40) if len(found[n][1]) > 20)
    without(tmp_path / "16.ts", whole, found[place][1][2:18])
    assert set(corrupt(tmp_path / "16.ts")) <= {found[n][0] for n in (place - 1, place)}
    data, at = without(tmp_path / "junk.ts", whole, found[30][1][3:4]).read_bytes(), found[30][1][2]
    (tmp_path / "junk.ts").write_bytes(data[:at] + bytes(500) + data[at:])

    assert corrupt(tmp_path / "junk.ts")
    assert set(corrupt(tmp_path / "junk.ts")) <= {found[n][0] for n in (29, 30)}


def test_what_is_made_from_a_damaged_picture_is_told_of(tmp_path: Path, whole: Path) -> None:
    _, packets = pictures(whole.read_bytes())[28]  # shown at about 1.2 s
    source = without(tmp_path / "damaged.ts", whole, packets[1:2])

    for spec in ("source", "9:16"):
        assert told(source, "0", "0.4", spec) == told(source, "2.4", "2.9", spec) == []
        assert any("A frame is damaged in" in each for each in told(source, "0.5", "2", spec))
    [before] = told(source, "1.5", "1.9", "9:16")
    assert before.startswith("A frame before the clip is damaged in the file: the clip may look so")


def test_a_picture_of_two_fields_lacks_what_the_second_does(tmp_path: Path) -> None:
    frames = [np.full((64, 64), 100, np.uint8)] * 24
    (tmp_path / "fields.h264").write_bytes(b"".join(paff(frames)))
    argv = [ffmpeg_path(), "-v", "error", "-f", "h264", "-r", "50", "-i", tmp_path / "fields.h264"]
    subprocess.run([*argv, "-c", "copy", tmp_path / "fields.ts"], check=True, stdin=DEVNULL)
    found = pictures((tmp_path / "fields.ts").read_bytes())
    assert len(found) == 48
    source = without(tmp_path / "damaged.ts", tmp_path / "fields.ts", found[21][1][1:2])

    with opened(str(source), "mpegts") as container:
        stream = container.streams.video[0]
        packets = pictures_of(marked(container, stream), stream)
        assert [each.pts for each in packets if each.is_corrupt] == [found[20][0]]
