"""`cutmv up`, `cutmv web` and `cutmv worker`, as a person runs them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.command import cutmv_process
from tests.support.media import make_sample
from tests.support.processes import Process, clean_env, free_port, wait_for


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    return make_sample(folder / "song.mp4", seconds=4.0, size=(320, 180))


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
    done = cutmv_process(command, cwd=tmp_path, **env)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "t0ken" not in done.stderr


@pytest.mark.parametrize(
    ("package", "env", "said"),
    [
        ("redis", {"REDIS_URL": "redis://127.0.0.1:1/0"}, "pip install '.[redis]'"),
        ("psycopg", {"DATABASE_URL": "postgres://u:pw@127.0.0.1/d"}, "pip install '.[postgres]'"),
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
        done = cutmv_process("up", "--port", str(taken.getsockname()[1]), cwd=tmp_path)

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
