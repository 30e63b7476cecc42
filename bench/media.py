"""How fast a clip is cut by copying, beside what FFmpeg and `smartcut` take for the same clip.

A clip of 45 s out of 60 s of 1080p, whose ends are far from key pictures. Times are of whole
processes, medians of some runs in turn, so that all have the same machine. A whole encoding of the
source in another shape is made by one worker, and shared by two, each pinned to a core. Then three
shapes of a clip of 8 s, by one decode and by three.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import media_shared
from media_joins import step_db
from media_reads import reads
from targets import Target, most, table

from cutmv.media import (
    Clip,
    Order,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    plan,
    probe,
    render,
    render_together,
)

#: Seconds of a source, and where the clip begins and ends.
SECONDS, START, END = 60, Fraction("4.7"), Fraction("49.9")
#: Pictures from one key picture to the next.
GROUPS = (250, 48)
#: Pictures with so much noise that 1080p has 32 Mbit/s, as a master may, and 9, as is usual.
PICTURE = "testsrc2=s=1920x1080:r=30:d={seconds},noise=alls=6:allf=t"
USUAL_PICTURE = "testsrc2=s=1920x1080:r=30:d={seconds},noise=alls=4:allf=t"
COPY = "stream copy from the key picture (inexact)"
EDGES = "edge pictures alone, decoded and encoded, veryfast"
JOINS = "step of PSNR at the joins, on the mean, dB"
SPEC = OutputSpec("cutdown", "source", "crop")
#: Shapes that are made by one decode and by three, and of which clip.
SHAPES = ("16:9", "9:16", "1:1")
SHAPED, SHAPED_SECONDS = Clip(Fraction("4.7"), Fraction("12.7")), 20


def main() -> None:
    """Measure, and print two tables and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each, the median counts")
    parser.add_argument("--quick", action="store_true", help="one run, and no slow encoding")
    asked = parser.parse_args()
    rows: dict[int, dict[str, float | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for group in GROUPS:
            source = make_source(Path(folder), group)
            rows[group] = measure(
                source, Path(folder), 1 if asked.quick else asked.runs, asked.quick
            )
        read = reads(source, Path(folder))  # whose groups are short
        # A clip of a few seconds is shared where the workers are told that they are slow.
        clip, multiple = ("0-12", 5.0) if asked.quick else (f"0-{SECONDS}", None)
        shared = media_shared.measure(source, Path(folder), clip, multiple)
        usual = make_source(Path(folder), GROUPS[-1], USUAL_PICTURE, SHAPED_SECONDS)
        together = {
            rate: outputs_together(each, Path(folder), 1 if asked.quick else asked.runs)
            for rate, each in (("32 Mbit/s", source), ("9 Mbit/s", usual))
        }
    print(rows_table(rows))
    print()
    for rate, (one, three) in together.items():
        print(f"Three shapes of 8 s of {rate}, seconds: one decode {one:.2f}, three {three:.2f}")
    print()
    targets = [each for group, row in rows.items() for each in judge(group, row)] + read
    targets.append(media_shared.judge(shared))
    one, three = together["9 Mbit/s"]
    ratio = round(one / three, 2)
    targets.append(most("three outputs by one decode, of three runs", ratio, 0.75))
    print(table(targets))
    document = {"bench": "media", "at": time.strftime("%FT%TZ", time.gmtime())}
    document |= {"cores": os.cpu_count(), "load": os.getloadavg()[0], "seconds": rows}
    document |= {"shared": shared}
    document |= {"read": {each.what: float(each.measured) for each in read}}
    document |= {"together": together}
    print()
    print(json.dumps(document | {"met": all(each.met for each in targets)}))


def make_source(folder: Path, group: int, pictures: str = PICTURE, seconds: int = SECONDS) -> Path:
    """Write a source of some pictures, whose key pictures are `group` apart."""
    path = folder / f"source-{group}-{seconds}.mp4"
    x264 = f"-c:v libx264 -preset veryfast -crf 20 -g {group} -bf 2 -sc_threshold 0".split()
    sound = ["-f", "lavfi", "-i", f"sine=440:d={seconds}:r=48000", "-c:a", "aac"]
    picture = ["-f", "lavfi", "-i", pictures.format(seconds=seconds)]
    run(
        [
            ffmpeg_path(),
            "-v",
            "error",
            "-y",
            *picture,
            *sound,
            "-pix_fmt",
            "yuv420p",
            *x264,
            str(path),
        ]
    )
    return path


def measure(source: Path, folder: Path, runs: int, quick: bool) -> dict[str, float | None]:
    """Return the seconds that each way takes, by its name."""
    info = probe(source)
    planned = plan(info, Clip(START, END), SPEC)
    made = folder / "made.mp4"
    parts = edges_of(source)

    def ours() -> None:
        render(source, planned, made, timeout_s=600)

    ways: dict[str, Callable[[], None]] = {
        COPY: lambda: ffmpeg(source, made, "-c copy"),
        EDGES: lambda: edges(source, made, *parts),
        "cutmv": ours,
        "whole, veryfast": lambda: ffmpeg(source, made, "-c:v libx264 -preset veryfast -c:a aac"),
    }
    if not quick:
        ways["whole, medium"] = lambda: ffmpeg(source, made, "-c:v libx264 -c:a aac")
    if smartcut := find_smartcut():
        ways["smartcut"] = lambda: run(
            [*smartcut, str(source), str(made), "--keep", f"{float(START)},{float(END)}"]
        )
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs):
        for name, way in ways.items():
            if number and name.startswith("whole"):
                continue  # so long that one run says enough
            made.unlink(missing_ok=True)
            began = time.monotonic()
            way()
            taken[name].append(time.monotonic() - began)
    found: dict[str, float | None] = {name: statistics.median(each) for name, each in taken.items()}
    ours()
    rate = Fraction(info.video.frame_rate).limit_denominator(1001)
    first = round(START * rate)
    begins = [round(at * rate) - first for at, _ in parts]
    encoded = [(begin, begin + count) for begin, (_, count) in zip(begins, parts, strict=True)]
    step = step_db(PICTURE.format(seconds=SECONDS), first, made, encoded)
    return {
        "pictures at the edges": float(sum(count for _, count in parts)),
        JOINS: step,
        **found,
    }


def outputs_together(source: Path, folder: Path, runs: int) -> tuple[float, float]:
    """Return the seconds that three shapes of a clip take by one decode, and by three."""
    info = probe(source)
    orders = [
        Order(
            plan(info, SHAPED, OutputSpec("cutdown", shape, "crop")),
            folder / f"{shape.replace(':', 'x')}.mp4",
        )
        for shape in SHAPES
    ]
    one, three = [], []
    for _ in range(runs):
        began = time.monotonic()
        found = render_together(source, orders, timeout_s=600)
        one.append(time.monotonic() - began)
        assert all(isinstance(each, Rendered) for each in found), found
        began = time.monotonic()
        for order in orders:
            render(source, order.plan, order.destination, timeout_s=600)
        three.append(time.monotonic() - began)
    return statistics.median(one), statistics.median(three)


def edges_of(source: Path) -> list[tuple[Fraction, int]]:
    """Return when the encoded edges of the clip begin (s), and how many pictures each has."""
    import av

    from cutmv.media.engine.source.file import opened
    from cutmv.media.engine.source.windows import windows
    from cutmv.media.engine.timeline.segments import Encoded, decide

    with opened(str(source), "mov") as container:
        stream = container.streams.video[0]
        assert isinstance(stream, av.VideoStream)
        assert stream.time_base is not None
        start, end = (round(each / stream.time_base) for each in (START, END))
        window = next(windows(container, stream, start, end))
        parts = [each for each in decide(window.timeline, start, end) if isinstance(each, Encoded)]
        return [(each.pictures[0].pts * stream.time_base, len(each.pictures)) for each in parts]


def edges(source: Path, made: Path, *parts: tuple[Fraction, int]) -> None:
    """Decode and encode the edges alone, as FFmpeg does it."""
    for begins, count in parts:
        at = ["-ss", f"{float(begins):.6f}", "-i", str(source), "-an", "-frames:v", str(count)]
        x264 = ["-c:v", "libx264", "-preset", "veryfast", str(made)]
        run([ffmpeg_path(), "-v", "error", "-y", *at, *x264])


def ffmpeg(source: Path, made: Path, options: str) -> None:
    """Cut the clip by FFmpeg alone."""
    at = ["-ss", str(float(START)), "-i", str(source), "-t", str(float(END - START))]
    run([ffmpeg_path(), "-v", "error", "-y", *at, *options.split(), str(made)])


def find_smartcut() -> list[str] | None:
    """Return the command of `smartcut` (PyPI), if it is installed."""
    program = Path(sys.executable).with_name("smartcut")
    return [str(program)] if program.exists() else None


def run(argv: list[str]) -> None:
    """Run a program; it must end well."""
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def rows_table(rows: dict[int, dict[str, float | None]]) -> str:
    """For people, in Markdown."""
    names = list(next(iter(rows.values())))
    lines = [
        "| 45.2 s of 60 s, 1080p, seconds | "
        + " | ".join(f"a key picture in {g}" for g in rows)
        + " |"
    ]
    lines.append("| --- |" + " ---: |" * len(rows))
    for name in names:
        figures = [row.get(name) for row in rows.values()]
        lines.append(
            f"| {name} | " + " | ".join("-" if v is None else f"{v:.2f}" for v in figures) + " |"
        )
    return "\n".join(lines)


def judge(group: int, row: dict[str, float | None]) -> list[Target]:
    """Hold the figures of one source to the targets."""
    ours = row["cutmv"] or 0.0
    copy = row[COPY] or 0.0
    edge = row[EDGES] or 0.0
    bound = round(2 * copy + 1.3 * edge, 2)
    targets = [
        most(f"{group}: 2 × stream copy + 1.3 × the edges, s", round(ours, 2), bound),
        most(f"{group}: step of PSNR at the joins, dB", round(row[JOINS] or 0.0, 2), 1.0),
    ]
    for name, least in (("smartcut", 2), ("whole, veryfast", 7), ("whole, medium", 15)):
        theirs = row.get(name)
        if theirs is not None:
            ratio = theirs / ours
            targets.append(
                Target(
                    f"{group}: times as fast as {name}",
                    f"{ratio:.1f}",
                    f"≥ {least}",
                    ratio >= least,
                )
            )
    return targets


if __name__ == "__main__":
    main()
