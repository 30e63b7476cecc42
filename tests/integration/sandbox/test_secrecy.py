"""The processes that have secrets are closed to others of the same user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cutmv.media.sandbox.access import Access, command
from tests.support.media import make_sample
from tests.support.processes import Process, clean_env, free_port, wait_for
from tests.support.web_server import web_server

#: Reads as much of others as it may, and prints of how many processes it read something.
READS = """
import json, sys
found = []
for path in json.loads(sys.argv[1]):
    try:
        found.append(open(path, "rb").read(1).decode("latin-1") and path)
    except OSError:
        pass
print(json.dumps(found))
"""


#: Has the engine read a file, and stays.
HAS_READ = """
import sys
from cutmv.media import probe
probe(sys.argv[1])
print("read", flush=True)
input()
"""
#: Before a command of root, which then has none of its rights: others of the user could read it.
AS_ANYBODY = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def readable(process: psutil.Process) -> list[str]:
    """What others may read of a process and all that it started."""
    every = [process, *process.children(recursive=True)]
    # As another process of this user's would: without a sandbox, and without root's rights.
    paths = [f"/proc/{each.pid}/{name}" for each in every for name in ("environ", "maps")]
    argv = [sys.executable, "-I", "-S", "-c", READS, json.dumps(paths)]
    asked = command(argv, Access(), applied=["no rights of root"])
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30)
    return list(json.loads(done.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nobody_reads_the_environment_of_a_web_server(tmp_path: Path) -> None:
    with web_server(tmp_path, under=AS_ANYBODY or ["env"]) as server:
        own = psutil.Process(server.process.child.pid)
        assert own.children(), "gunicorn has a process that starts the others"
        assert readable(own) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_not_hidden_would_be_read() -> None:
    shown = subprocess.Popen([*AS_ANYBODY, sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        wait_for(lambda: len(readable(psutil.Process(shown.pid))) == 2, what="both are read")
    finally:
        shown.kill()
        shown.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nobody_reads_the_environment_of_a_program_that_has_a_file_read(tmp_path: Path) -> None:
    """As `cutmv cut` does, which reads no settings."""
    video = make_sample(tmp_path / "v.mp4", seconds=0.2, size=(64, 64))
    argv = [*AS_ANYBODY, sys.executable, "-c", HAS_READ, str(video)]
    program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout and program.stdout.readline() == "read\n"
        assert readable(psutil.Process(program.pid)) == []
    finally:
        program.kill()
        program.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nobody_reads_the_environment_of_up_and_of_what_it_starts(
    tmp_path: Path, redis_url: str
) -> None:
    """The supervisor, both of gunicorn's, and the worker with its pool."""
    env = clean_env(CUTMV_DATA_DIR=str(tmp_path / "data"), REDIS_URL=redis_url)
    argv = [*AS_ANYBODY, sys.executable, "-m", "cutmv", "up", "--port", str(free_port())]
    up = Process(argv, env, tmp_path / "up.log")
    try:
        up.wait_for_log(" ready.")
        up.wait_for_log("Booting worker")
        own = psutil.Process(up.child.pid)
        wait_for(lambda: len(own.children(recursive=True)) >= 5, what="all processes are there")
        commands = " ".join(word for each in own.children() for word in each.cmdline())
        assert "gunicorn" in commands and "celery" in commands
        wait_for(lambda: not readable(own), 10.0, f"nothing is read\n{up.log}")
    finally:
        assert up.stop() == 0, up.log
