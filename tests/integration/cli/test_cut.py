"""The `cutmv` command, as a person runs it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.fork_server import run_python
from tests.support.media import frame_number, make_sample, read_frames, shown_size
from tests.support.processes import Process, clean_env, free_port, slowness, wait_for

SIZE = (320, 180)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=4.0, size=SIZE)


def cutmv(*argv: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    ours = clean_env(CUTMV_DATA_DIR=str(cwd / "data"), **env)
    return run_python("-m", "cutmv", *argv, cwd=cwd, env=ours)


def test_cut_does_the_whole_job_and_prints_the_paths(video: Path, tmp_path: Path) -> None:
    done = cutmv(
        *("cut", str(video), "--clip", "0:00.5-0:01", "--clip", "2-3"),
        *("--aspect", "9:16", "--aspect", "source", "--gif", "-o", "cuts"),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    names = [
        f"song-0{n}-{shape}" for n in (1, 2) for shape in ("9x16.mp4", "source.mp4", "gif.gif")
    ]
    assert done.stdout.split() == [f"cuts/{name}" for name in names]
    assert sorted(path.name for path in (tmp_path / "cuts").iterdir()) == sorted(names)
    frames = read_frames(tmp_path / "cuts" / "song-01-source.mp4")
    assert [frame_number(frame, SIZE) for frame in frames] == list(range(15, 30))
    assert shown_size(tmp_path / "cuts" / "song-02-9x16.mp4") == (1080, 1920)


def test_json_is_one_document_on_standard_output(video: Path, tmp_path: Path) -> None:
    done = cutmv("cut", str(video), "--clip", "1-2", "--still", "--json", cwd=tmp_path)

    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["error"] is None
    assert [output["kind"] for output in document["outputs"]] == ["cutdown", "still"]
    assert document["outputs"][0] | {"size_bytes": 0} == {
        "path": "song-01-source.mp4",
        "clip": "1-2",
        "kind": "cutdown",
        "aspect": "source",
        "duration_s": 1.0,
        "frames": 30,
        "size_bytes": 0,
        "width": 320,
        "height": 180,
    }
    assert "100%" in done.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["cut"], "INPUT"),
        (["cut", "none.mp4", "--clip", "0-1"], "does not exist"),
        (["cut", "VIDEO"], "--clip"),
        (["cut", "VIDEO", "--clip", "5"], "START-END"),
        (["cut", "VIDEO", "--clip", "2-1"], "ends before it starts"),
        (["cut", "VIDEO", "--clip", "0-1", "--aspect", "4:3"], "4:3"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_usage_is_exit_code_2_and_one_clear_line(
    video: Path, tmp_path: Path, argv: list[str], said: str
) -> None:
    done = cutmv(*(str(video) if part == "VIDEO" else part for part in argv), cwd=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.iterdir() if path.name != "data"] == []


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_is_exit_code_1_and_one_clear_line(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)

    done = cutmv(
        *("cut", "text.mp4", "--clip", "0-1", *(["--json"] if as_json else [])), cwd=tmp_path
    )

    assert done.returncode == 1
    assert re.search(r"^Error: .*no video", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) is as_json
    if as_json:
        assert json.loads(done.stdout)["outputs"] == []
        assert "no video" in json.loads(done.stdout)["error"]


def test_a_clip_past_the_end_costs_no_work_on_the_others(video: Path, tmp_path: Path) -> None:
    done = cutmv("cut", str(video), "--clip", "0-1", "--clip", "9-10", cwd=tmp_path)

    assert done.returncode == 1
    assert "past the end of the video, 4.000 s" in done.stderr
    assert list(tmp_path.glob("*.mp4")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_cut_that_is_told_to_end_says_so_and_leaves_no_partial_file(
    video: Path, tmp_path: Path, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored by whoever runs the tests, and so by what they start")
    clips = ["--clip", "0-0.1", "--clip", "0-0.2", *["--clip", "0-4"] * 20]
    argv = [sys.executable, "-m", "cutmv", "cut", str(video), *clips, "--aspect", "9:16", "--json"]
    with subprocess.Popen(
        argv, cwd=tmp_path, env=clean_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as cut:
        wait_for(lambda: list(tmp_path.glob(".song-03-*")), what="the third clip is under way")
        cut.send_signal(number)
        sent_at = time.monotonic()
        stdout, stderr = cut.communicate(timeout=30)

    assert time.monotonic() - sent_at < 2.0 * slowness()
    assert cut.returncode == 1
    document = json.loads(stdout)
    assert document["error"] == f"Ended by {number.name} before all was cut."
    assert b"Traceback" not in stderr
    made = [output["path"] for output in document["outputs"]]
    assert made[0] == "song-01-9x16.mp4"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(made)


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = cutmv("--help", cwd=tmp_path).stdout

    for command in ("cut", "up", "web", "worker", "emulator"):
        assert re.search(rf"^  {command}\s", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "env", "said"),
    [
        ("up", {"CLOUDFLARE_API_TOKEN": "t0ken"}, "CLOUDFLARE_ACCOUNT_ID"),
        ("worker", {}, "REDIS_URL"),
        ("web", {"CUTMV_MODE": "nothing"}, "CUTMV_MODE"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    tmp_path: Path, command: str, env: dict[str, str], said: str
) -> None:
    done = cutmv(command, cwd=tmp_path, **env)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "t0ken" not in done.stderr


@pytest.mark.parametrize(
    ("package", "env", "said"),
    [
        ("redis", {"REDIS_URL": "redis://127.0.0.1:1/0"}, "install 'cutmv[redis]'"),
        ("psycopg", {"DATABASE_URL": "postgres://u:pw@127.0.0.1/d"}, "install 'cutmv[postgres]'"),
    ],
)
def test_up_without_the_package_that_a_setting_needs_names_the_extra(
    tmp_path: Path, package: str, env: dict[str, str], said: str
) -> None:
    missing = f"import sys; sys.modules[{package!r}] = None; from cutmv.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", missing, "up", "--port", "0"],
        env=clean_env(CUTMV_DATA_DIR=str(tmp_path), **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "pw" not in done.stderr
    assert done.stdout == ""


def test_up_on_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = cutmv("up", "--port", str(taken.getsockname()[1]), cwd=tmp_path)

    assert done.returncode == 1
    assert "choose another --port" in done.stderr


def _up(tmp_path: Path, port: int, host: str = "127.0.0.1", **env: str) -> Process:
    ours = clean_env(CUTMV_DATA_DIR=str(tmp_path / "data"), **env)
    argv = ["cutmv", "up", "--host", host, "--port", str(port)]
    up = Process.python(argv, ours, tmp_path / "up.log")
    try:
        shown = f"[{host}]" if ":" in host else host
        up.wait_for_log(f"CUTMV is at http://{shown}:{port} ", 60)
    except BaseException:
        up.stop()
        raise
    return up


def test_up_listens_on_an_ipv6_address(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6")
    up = _up(tmp_path, port, host="::1")
    try:
        assert "<html" in httpx.get(f"http://[::1]:{port}").text
    finally:
        assert up.stop() == 0


def test_up_with_nothing_configured_serves_the_page_and_cuts(tmp_path: Path, video: Path) -> None:
    port = free_port()
    up = _up(tmp_path, port)
    url = f"http://127.0.0.1:{port}"
    try:
        assert "(mode: eager)" in up.log
        assert "<html" in httpx.get(url).text
        content = video.read_bytes()
        sent = httpx.post(f"{url}/api/uploads?filename=song.mp4", content=content, timeout=30)
        request = {"upload_id": sent.json()["id"], "clips": ["0-1"]}
        job = httpx.post(f"{url}/api/jobs", json=request, timeout=30).json()
        wait_for(lambda: httpx.get(f"{url}/api/jobs/{job['id']}").json()["state"] == "done", 60)
    finally:
        code = up.stop()
    assert code == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


@pytest.mark.slow
def test_up_runs_a_worker_with_a_broker_and_starts_it_again(
    tmp_path: Path, video: Path, redis_url: str
) -> None:
    import psutil

    port = free_port()
    up = _up(tmp_path, port, REDIS_URL=redis_url)
    try:
        up.wait_for_log(" ready.")
        children = psutil.Process(up.child.pid).children()
        worker = next(child for child in children if "celery" in " ".join(child.cmdline()))
        worker.send_signal(signal.SIGKILL)
        wait_for(lambda: up.log.count(" ready.") == 2, 60, "the worker is started again")
    finally:
        family = psutil.Process(up.child.pid).children(recursive=True)
        code = up.stop()
    assert code == 0
    wait_for(lambda: not any(child.is_running() for child in family), 10, "all children end")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_what_up_started_ends_with_it_when_it_is_killed(tmp_path: Path, redis_url: str) -> None:
    import psutil

    port = free_port()
    up = _up(tmp_path, port, REDIS_URL=redis_url)
    try:
        up.wait_for_log(" ready.")
        family = psutil.Process(up.child.pid).children(recursive=True)
    finally:
        up.kill()
    assert len(family) >= 3
    wait_for(lambda: not any(child.is_running() for child in family), 30, "all children end")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


@pytest.mark.slow
def test_up_gives_up_a_worker_that_ends_at_each_start(tmp_path: Path, redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as server:
        # May connect and no more, which is no outage that passes: a worker ends at once.
        server.acl_setuser("guest", enabled=True, passwords=["+guest"], commands=["+ping"])
    port = free_port()
    up = _up(tmp_path, port, REDIS_URL=redis_url.replace("://", "://guest:guest@", 1))
    try:
        assert up.child.wait(150) == 1
    finally:
        up.kill()
    assert up.log.count("The worker ended and is started again.") == 3
    assert "The worker ended 4 times soon after its start" in up.log
