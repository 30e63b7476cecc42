"""Hardware encodes where it is there and asked for, and software whatever it does not.

No machine that runs these has such hardware. What is really missing is tried for real; a program
that stands in for FFmpeg has x264 do what hardware would, and fails as hardware does.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cutmv.media import (
    FilmClip,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    hardware_encoder,
    join,
    parse_clip,
    plan,
    plan_film,
    probe,
    render,
)
from cutmv.media.products.encoders import HARDWARE
from cutmv.media.running.child import Limits, run
from cutmv.media.sandbox.access import Access
from tests.support.command import cutmv
from tests.support.media import frame_number, make_sample, read_frames

SIZE = (320, 180)
ASKED = OutputSpec("cutdown", "source", "crop", exact_copy="never", encoded_by="hardware")
#: FFmpeg, but that x264 does what is asked of NVIDIA's encoder, as long as a clip is not to fail.
STAND_IN = """#!{python}
import os, subprocess, sys
from pathlib import Path
argv, here = sys.argv[1:], Path(__file__)
if "h264_nvenc" in argv:
    begin, end = argv.index("h264_nvenc"), argv.index("-g")
    quality = argv[argv.index("-cq") + 1]
    argv[begin:end] = ["libx264", "-preset", "ultrafast", "-crf", quality]
    if "pipe:0" in argv:
        runs = here.with_name("runs")
        runs.write_text(runs.read_text() + quality + "\\n" if runs.exists() else quality + "\\n")
        how, last = here.with_name("how").read_text(), argv.pop()
        second = runs.read_text().count("\\n") == 2
        fails = second if how == "fails second" else how != "works"
        if how == "refuses":
            sys.exit("[h264_nvenc @ 0x1] No capable devices found")
        if fails:
            argv += ["-frames:v", "10"]
        code = subprocess.run([{program!r}, *argv, last]).returncode
        sys.exit("[h264_nvenc @ 0x1] out of memory" if fails and how != "lies" else code)
os.execv({program!r}, [{program!r}, *argv])
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hardware") / "source.mp4"
    return make_sample(path, size=SIZE, seconds=2)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program, beside which stands `how` it does."""
    program = tmp_path / "ffmpeg"
    program.write_text(STAND_IN.format(python=sys.executable, program=ffmpeg_path()))
    program.chmod(0o700)
    monkeypatch.setenv("CUTMV_FFMPEG", str(program))
    monkeypatch.setenv("CUTMV_SANDBOX", "off")  # it starts another program
    return program


def cut(source: Path, made: Path, spec: OutputSpec = ASKED) -> Rendered:
    info = probe(source)
    return render(source, plan(info, parse_clip("0-1.5", info.times), spec), made, timeout_s=60)


def shown(made: Path) -> list[int]:
    return [frame_number(image, SIZE) for image in read_frames(made)]


def test_without_hardware_a_clip_is_encoded_by_software_and_says_so(
    source: Path, tmp_path: Path
) -> None:
    if hardware_encoder():
        pytest.skip("this machine has such hardware")

    done = cutmv("cut", str(source), "--clip", "0-1.5", "--exact-copy", "never", "--encoder",
                 "hardware", "--json", "-o", str(tmp_path))  # fmt: skip

    [made] = json.loads(done.stdout)["outputs"]
    assert (made["encoder"], made["frames"]) == ("libx264", 45)
    told = "The picture was encoded by software: no hardware encoder works here."
    assert told in made["warnings"]


def test_hardware_that_works_encodes_at_the_source_s_quality(
    stand_in: Path, source: Path, tmp_path: Path
) -> None:
    stand_in.with_name("how").write_text("works")

    told = cut(source, tmp_path / "made.mp4")

    assert hardware_encoder() is HARDWARE[0]
    assert told.encoder == "h264_nvenc"
    assert not [each for each in told.warnings if "software" in each]
    assert shown(tmp_path / "made.mp4") == list(range(45))
    [quality] = stand_in.with_name("runs").read_text().split()
    assert (told.quality or "").startswith(f"CRF {quality}:")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("fails", "h264_nvenc failed (out of memory)"),
        pytest.param(
            "refuses", "h264_nvenc failed (No capable devices found)", marks=pytest.mark.slow
        ),
        pytest.param(
            "lies", "h264_nvenc failed (Pictures are missing in the result)", marks=pytest.mark.slow
        ),
    ],
)
def test_what_hardware_fails_at_is_encoded_whole_by_software(
    how: str, why: str, stand_in: Path, source: Path, tmp_path: Path
) -> None:
    stand_in.with_name("how").write_text(how)

    told = cut(source, tmp_path / "made.mp4")

    assert told.encoder == "libx264"
    assert told.warnings[-1] == f"The picture was encoded by software: {why}."
    assert shown(tmp_path / "made.mp4") == list(range(45))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "name", "why"),
    [
        (replace(ASKED, bit_rate=10**7), "made.mp4", "hardware at a constant quality"),
        (ASKED, "made.webm", "films of this kind"),
    ],
)
def test_what_hardware_can_t_do_as_asked_is_not_asked_of_it(
    spec: OutputSpec, name: str, why: str, stand_in: Path, source: Path, tmp_path: Path
) -> None:
    stand_in.with_name("how").write_text("works")

    told = cut(source, tmp_path / name, spec)

    assert told.encoder == ("libvpx-vp9" if name.endswith("webm") else "libx264")
    assert told.warnings[-1].startswith(f"The picture was encoded by software: {why}")
    assert not stand_in.with_name("runs").exists()


@pytest.mark.slow
def test_all_clips_of_a_film_are_encoded_by_one_encoder(
    stand_in: Path, source: Path, tmp_path: Path
) -> None:
    stand_in.with_name("how").write_text("fails second")
    info = probe(source)
    clips = [FilmClip(parse_clip(each, info.times)) for each in ("0-0.5", "1-1.5")]
    film = plan_film([info], clips, replace(ASKED, join=True))

    told = join([source], film, tmp_path / "made.mp4")

    assert told.encoder == "libx264"
    assert shown(tmp_path / "made.mp4") == [*range(15), *range(30, 45)]
    assert "by software: its clips' pictures can't follow one another" in told.warnings[-1]


@pytest.mark.parametrize("graphics", [True, False])
def test_a_driver_may_reserve_more_memory_than_the_engine_may_use(graphics: bool) -> None:
    told: list[str] = []
    code = "import resource; print(*resource.getrlimit(resource.RLIMIT_AS))"

    run(
        [sys.executable, "-c", code],
        limits=Limits(2**32, 0, 10),
        access=Access(graphics=graphics),
        on_line=told.append,
    )

    own = resource.getrlimit(resource.RLIMIT_AS)[1]
    assert told == [f"{2**32} {own if graphics else 2**32}"]
