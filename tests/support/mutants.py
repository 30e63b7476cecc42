"""Videos that are damaged by a seed, each tried as files are: probe, cut, still and GIF."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import psutil

from cutmv.media import (
    Clip,
    MediaError,
    MediaUnavailable,
    Order,
    OutputSpec,
    RenderTimeout,
    plan,
    probe,
    render_together,
)
from tests.support.media import make_sample

#: The sources: of each container, with the codecs that people bring in it. Small ones.
SOURCES = {
    "h264.mp4": ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-bf", "1"),
    "fragments.mp4": ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-movflags",
                      "+frag_keyframe+empty_moov"),
    "hevc.mov": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none",
                 "-tag:v", "hvc1"),
    "mjpeg.mov": ("-c:v", "mjpeg", "-q:v", "9", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"),
    "h264.mkv": ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5"),
    "vp8.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "1", "-c:a", "mp3"),
    "h264.ts": ("-c:v", "libx264", "-preset", "ultrafast", "-g", "5"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-q:v", "9", "-c:a", "mp2"),
}  # fmt: skip
#: What is made of each.
KINDS = (
    OutputSpec("cutdown", "source", "crop"),
    OutputSpec("still", "source", "crop"),
    OutputSpec("gif", "source", "crop"),
)
#: Seconds that a probe or a cut of so small a file may take on a machine that does other work too.
HANG_S = 90.0
#: Values that a damaged size has.
SIZES = (0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def make_sources(folder: Path) -> list[Path]:
    """Write the sources."""
    made = []
    for name, codec in SOURCES.items():
        rate = "25" if "mpeg" in name else "10"
        made.append(make_sample(folder / name, seconds=0.8, size=(64, 64), rate=rate, codec=codec))
    return made


def numbered(sources: list[bytes], seed: int, number: int) -> bytes:
    """The mutant of a seed and a number."""
    return mutant(sources, random.Random(f"{seed}/{number}"))


def mutant(sources: list[bytes], dice: random.Random) -> bytes:
    """Damage one of the sources, in one way or in several."""
    data = bytearray(dice.choice(sources))
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        damage = dice.choice((_flip, _cut_off, _swap, _inflate, _splice, _repeat, _blank))
        data = damage(data, dice, sources) or bytearray(b"\0")
    return bytes(data)


def _flip(data: bytearray, dice: random.Random, _: list[bytes]) -> bytearray:
    # Headers are where most is decided.
    most = dice.choice((200, 2000, len(data)))
    for _count in range(dice.choice((1, 4, 32))):
        data[dice.randrange(min(most, len(data)))] ^= 1 << dice.randrange(8)
    return data


def _cut_off(data: bytearray, dice: random.Random, _: list[bytes]) -> bytearray:
    return data[: dice.randrange(1, len(data) + 1)]


def _swap(data: bytearray, dice: random.Random, _: list[bytes]) -> bytearray:
    """Swap two neighbouring parts: boxes of an MP4 where there are some."""
    cuts = _boxes(data)
    if len(cuts) < 3:
        cuts = sorted(dice.randrange(len(data) + 1) for _ in range(3))
    place = dice.randrange(len(cuts) - 2)
    a, b, c = cuts[place : place + 3]
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _boxes(data: bytearray) -> list[int]:
    at, found = 0, [0]
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size < 8 or at + size > len(data):
            break
        at += size
        found.append(at)
    return found


def _inflate(data: bytearray, dice: random.Random, _: list[bytes]) -> bytearray:
    """Write a large size where one may be: before a name of four letters, or anywhere."""
    names = [i for i in range(4, len(data) - 4) if data[i : i + 4].isalpha()]
    at = dice.choice(names) - 4 if names and dice.random() < 0.7 else dice.randrange(len(data))
    at += dice.choice((0, 0, 12, 16))
    data[at : at + 4] = dice.choice(SIZES).to_bytes(4, dice.choice(("big", "little")))
    return data


def _splice(data: bytearray, dice: random.Random, sources: list[bytes]) -> bytearray:
    other = dice.choice(sources)
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other)) :]


def _repeat(data: bytearray, dice: random.Random, _: list[bytes]) -> bytearray:
    begin = dice.randrange(len(data))
    part = data[begin : begin + dice.choice((8, 188, 4096))]
    return data[:begin] + part * dice.choice((2, 20)) + data[begin:]


def _blank(data: bytearray, dice: random.Random, _: list[bytes]) -> bytearray:
    begin = dice.randrange(len(data))
    end = min(len(data), begin + dice.choice((4, 64, 1024)))
    data[begin:end] = bytes([dice.choice((0, 0xFF))]) * (end - begin)
    return data


@dataclass
class Report:
    """What became of mutants: how many ended how, what was wrong, and megabytes of the parent."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Add what became of others."""
        self.ends += other.ends
        self.wrong += other.wrong
        self.memory_mb += other.memory_mb


def try_all(
    sources: list[Path], seed: int, numbers: Iterable[int], on: Callable[[], bool] = lambda: True
) -> Report:
    """Try the mutants of these numbers in two processes, as long as `on` says so."""
    whole, waiting = Report(), iter(numbers)
    # Each has children, which a fork of this process with its threads should not have.
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        running = []
        # `range` first: it ends without taking a number.
        while on() and (part := [n for _, n in zip(range(10), waiting, strict=False)]):
            running.append(pool.submit(_try_some, sources, seed, part))
            if len(running) > 4:
                whole.add(running.pop(0).result())
        for each in running:
            whole.add(each.result())
    return whole


def _try_some(sources: list[Path], seed: int, numbers: list[int]) -> Report:
    report, data = Report(), [path.read_bytes() for path in sources]
    own = psutil.Process()
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        tempfile.tempdir = name
        for number in numbers:
            folder = Path(name, "work")
            folder.mkdir()
            path = folder / "mutant"
            path.write_bytes(numbered(data, seed, number))
            before = own.num_fds()
            told = partial(report.wrong.append)
            begun = time.monotonic()
            try:
                report.ends[_try(path, folder)] += 1
            except Exception as error:
                told(f"{number}: {type(error).__name__}: {error}")
            if time.monotonic() - begun > HANG_S:
                told(f"{number}: took {time.monotonic() - begun:.0f} s")
            if (after := own.num_fds()) > before:
                told(f"{number}: {after - before} descriptors are left open")
            if own.children(recursive=True):
                told(f"{number}: a process is left")
            left = {each.name for each in (*folder.iterdir(), *Path(name).iterdir())}
            if left := left - {"work", "mutant", "0.mp4", "1.jpg", "2.gif"}:
                told(f"{number}: files are left: {left}")
            shutil.rmtree(folder)
        tempfile.tempdir = None
    report.memory_mb.append(own.memory_info().rss / 1e6)
    return report


def _try(path: Path, folder: Path) -> str:
    """Do with a file what people do; return how far that came. Raises what no file may cause."""
    try:
        info = probe(path, timeout_s=HANG_S)
    except RenderTimeout:
        raise
    except MediaError as error:
        refuse_many_lines(str(error))
        return "refused"
    clip = Clip(Fraction(0), min(info.length, Fraction(1, 2)))
    orders = []
    for number, (spec, suffix) in enumerate(zip(KINDS, ("mp4", "jpg", "gif"), strict=True)):
        orders.append(Order(plan(info, clip, spec), folder / f"{number}.{suffix}"))
    try:
        results = render_together(path, orders, timeout_s=HANG_S)
    except RenderTimeout:
        raise
    except MediaError as error:
        refuse_many_lines(str(error))
        return "probed"
    failed = [each for each in results if isinstance(each, Exception)]
    for each in failed:
        if isinstance(each, RenderTimeout | MediaUnavailable):
            raise each
        refuse_many_lines(str(each))
    return "made in part" if failed else "made"


def refuse_many_lines(told: str) -> None:
    """Raise AssertionError unless this is one line for people, without a path."""
    if "\n" in told or len(told) > 400 or "Error:" in told or "/tmp" in told:
        raise AssertionError(f"not one clear line: {told}")
