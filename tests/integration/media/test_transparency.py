"""What is transparent stays so where the output has room for it, and is black elsewhere."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from cutmv.media import (
    Clip,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    output_extension,
    plan,
    probe,
    render,
)

slow = pytest.mark.slow
SOURCES = {
    "qtrle": ("mov", "qtrle", "argb"),
    "prores": ("mov", "prores_ks", "yuva444p10le"),
    "png": ("mov", "png", "rgba"),
    "vp9": ("webm", "libvpx-vp9", "yuva420p"),
    "vp8": ("webm", "libvpx", "yuva420p"),
}
COLOUR, WHITE, BLACK = (200, 30, 60), (255, 255, 255), (0, 0, 0)
BLACKED = "The source is partly transparent: the output is shown before black."
#: Pictures a second: on each a bar moves on, so that each is another.
RATE = 25


def source(folder: Path, name: str, seconds: float = 0.4) -> Path:
    """A picture whose right half is transparent, and hides white; a bar tells its number."""
    suffix, codec, pixels = SOURCES[name]
    path = folder / f"half.{suffix}"
    bar = "lt(Y,16)*lt(X,4*N)"
    half = f"geq=r='if(lt(X,W/2),200,255)':g='if(lt(X,W/2),30+200*{bar},255)':"
    half += "b='if(lt(X,W/2),60,255)':a='if(lt(X,W/2),255,0)'"
    shown = f"color=s=320x180:r={RATE},format=rgba,{half}"
    shown += f",scale=out_color_matrix=bt709:out_range=tv,format={pixels}"
    argv = [ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", shown, "-t", str(seconds)]
    argv += ["-c:v", codec, "-colorspace", "bt709", "-g", "12", "-b:v", "3M"]
    argv += ["-auto-alt-ref", "0"] if codec.startswith("libvpx") else []
    subprocess.run([*argv, str(path)], check=True)
    return path


def cut(
    path: Path, spec: OutputSpec, start: str = "0", end: str = "0.4", suffix: str | None = None
) -> tuple[Path, Rendered]:
    info = probe(path)
    made = path.with_name(f"made.{suffix or output_extension(info, spec)}")
    planned = plan(info, Clip(Fraction(start), Fraction(end)), spec)
    return made, render(path, planned, made, timeout_s=60)


def pixels(made: Path) -> list[Any]:
    """Red, green, blue and how opaque it is at the middle of each half of a first picture."""
    with Image.open(made) as image:
        whole = image.convert("RGBA")
        line = whole.height // 2
        return [whole.getpixel((whole.width * part // 4, line)) for part in (1, 3)]


@pytest.mark.parametrize(
    ("name", "kind", "suffix"),
    [
        ("qtrle", "gif", "gif"),
        ("vp9", "still", "png"),
        *(
            pytest.param(name, kind, suffix, marks=slow)
            for name in SOURCES
            for kind, suffix in (("gif", "gif"), ("webp", "webp"), ("still", "png"))
            if (name, kind) not in (("qtrle", "gif"), ("vp9", "still"))
        ),
    ],
)
def test_what_is_no_film_is_as_transparent_as_its_source(
    tmp_path: Path, name: str, kind: Any, suffix: str
) -> None:
    made, told = cut(source(tmp_path, name), OutputSpec(kind, "source", "crop"))

    assert made.suffix == f".{suffix}"
    left, right = pixels(made)
    assert left[3] == 255
    assert left[:3] == pytest.approx(COLOUR, abs=6)
    assert right[3] == 0
    assert not any("transparent" in each for each in told.warnings)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("qtrle", "cutdown"),
        *(pytest.param(name, "cutdown", marks=slow) for name in ("prores", "vp9", "vp8")),
        *(pytest.param(name, "still", marks=slow) for name in ("prores", "png")),
        pytest.param("vp9", "gif", marks=slow),
    ],
)
def test_elsewhere_it_is_black_and_told(tmp_path: Path, name: str, kind: Any) -> None:
    fit: Any = "blur" if kind == "gif" else "crop"
    aspect: Any = "source" if kind == "still" else "1:1"
    spec = OutputSpec(kind, aspect, fit, size=None if kind == "still" else (180, 180))

    made, told = cut(source(tmp_path, name), spec, suffix="jpg" if kind == "still" else None)

    if kind == "cutdown":
        with av.open(str(made)) as file:
            frame = next(file.decode(video=0))
            Image.fromarray(frame.to_ndarray(format="rgb24")).save(tmp_path / "first.png")
        left, right = pixels(tmp_path / "first.png")
    else:
        left, right = pixels(made)
    if fit == "crop":
        assert left[:3] == pytest.approx(COLOUR, abs=12)
    assert right == pytest.approx((*BLACK, 255), abs=8)
    if kind != "still":
        assert BLACKED in told.warnings


@pytest.mark.parametrize("name", ["vp9", pytest.param("vp8", marks=slow)])
def test_a_smart_cut_keeps_what_is_transparent_at_its_edges_and_between(
    tmp_path: Path, name: str
) -> None:
    video = source(tmp_path, name, 1.6)

    made, told = cut(video, OutputSpec("cutdown", "source", "crop"), "0.2", "1.4")

    assert made.suffix == ".webm"
    assert (told.frames, told.copied, told.warnings) == (30, 23, ())
    # The element that says so to players (RFC 9559, 5.1.4.1.28.4).
    assert b"\x53\xc0\x81\x01" in made.read_bytes()
    found = []
    with av.open(str(made)) as file:
        decoder: Any = av.CodecContext.create({"vp8": "libvpx"}.get(name, "libvpx-vp9"), "r")
        for packet in file.demux(video=0):
            found += decoder.decode(packet if packet.size else None)
    assert len(found) == 30
    for place, frame in enumerate(found):
        image = frame.to_ndarray(format="rgba").astype(int)
        assert image[90, 40:120, 3].min() > 250
        assert image[90, 200:280, 3].max() < 5
        assert np.abs(image[90, 80, :3] - COLOUR).max() < 24  # VP8 has another matrix
        bar = image[8, :160, 1] > 130
        assert abs(int(bar.sum()) - 4 * (place + 5)) <= 3


@slow
def test_a_film_without_room_for_it_is_encoded_before_black(tmp_path: Path) -> None:
    spec = OutputSpec("cutdown", "source", "crop")

    _, told = cut(source(tmp_path, "vp9"), spec, suffix="mp4")

    assert told.copied == 0
    assert told.reason == "how transparent it is has no place in a film of this kind"
    assert BLACKED in told.warnings
