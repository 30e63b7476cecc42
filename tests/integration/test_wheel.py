"""What a user gets: the wheel, installed with what it depends on and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.media import frame_number, make_sample, read_frames
from tests.support.processes import Process, clean_env, free_port, wait_for

SIZE = (320, 180)
TREE = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cutmv` in a virtual environment that this tree's wheel was installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*build, str(TREE)], check=True, timeout=120)
    (wheel,) = folder.glob("cutmv-*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=60)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    constraint = ["--constraint", str(TREE / "requirements-dev.txt")]
    subprocess.run([*pip, *constraint, str(wheel)], check=True, timeout=280)
    return folder / "venv" / "bin" / "cutmv"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=4.0, size=SIZE)


def environment(data: Path, **ours: str) -> dict[str, str]:
    """One that leads to nothing of this tree or of the tests' own packages."""
    env = clean_env(CUTMV_DATA_DIR=str(data), PATH="/usr/bin:/bin", **ours)
    return {name: value for name, value in env.items() if name != "PYTHONPATH"}


def run(program: Path, *argv: str, cwd: Path, **ours: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *argv],
        cwd=cwd,
        env=environment(cwd / "data", **ours),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def address(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the installed `cutmv up` serves."""
    folder, port = tmp_path_factory.mktemp("up"), free_port()
    argv = [str(program), "up", "--port", str(port)]
    # Not from this tree, which `python -m` would put before what is installed.
    up = Process(argv, environment(folder / "data"), folder / "up.log", cwd=folder)
    try:
        up.wait_for_log("CUTMV is at ", 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        assert up.stop() == 0


def test_an_installed_wheel_cuts_a_video(program: Path, video: Path, tmp_path: Path) -> None:
    done = run(program, "cut", str(video), "--clip", "1-2", "--json", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    made = tmp_path / json.loads(done.stdout)["outputs"][0]["path"]
    assert [frame_number(frame, SIZE) for frame in read_frames(made)] == list(range(30, 60))


def test_an_installed_wheel_serves_its_page_and_cuts(address: str, video: Path) -> None:
    with httpx.Client(base_url=address, timeout=30.0) as client:
        assert "<html" in client.get("/").text
        for file in (TREE / "cutmv" / "web" / "static").iterdir():
            assert client.get(f"/static/{file.name}").content == file.read_bytes()
        sent = client.post("/api/uploads?filename=song.mp4", content=video.read_bytes())
        wanted = {"upload_id": sent.json()["id"], "clips": ["0-1"]}
        job = client.post("/api/jobs", json=wanted).json()
        url = f"/api/jobs/{job['id']}"
        wait_for(lambda: client.get(url).json()["state"] == "done", 60, "the job is done")


@pytest.mark.parametrize(
    ("argv", "env", "said"),
    [
        (["up"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, "pip install '.[redis]'"),
        (["up"], {"DATABASE_URL": "postgresql://127.0.0.1:1/cutmv"}, "pip install '.[postgres]'"),
        (["emulator"], {}, "pip install '.[emulator]'"),
    ],
)
def test_an_installed_wheel_names_the_extra_that_it_lacks(
    program: Path, tmp_path: Path, argv: list[str], env: dict[str, str], said: str
) -> None:
    done = run(program, *argv, cwd=tmp_path, **env)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and said in done.stderr
    assert done.stderr.count("\n") == 1
