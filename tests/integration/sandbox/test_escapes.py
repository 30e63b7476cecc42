"""A hijacked child tries each escape, under each protection alone and under all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cutmv.media.running.child import Limits, run
from cutmv.media.sandbox import landlock
from cutmv.media.sandbox.access import Access, command
from cutmv.media.sandbox.protections import protections
from cutmv.media.sandbox.start import MORE_TASKS
from cutmv.secrecy import hide_memory
from tests.support import escapes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the protections are Linux's")

SCRIPT = [sys.executable, "-I", "-S", str(Path(escapes.__file__))]
#: What no sandbox may refuse, and what limits refuse wherever there are any.
NEEDED = {"read its input", "write its output"}
LIMITED = {"take too much memory", "write too large a file"}
#: What each protection refuses by itself.
BY_FILES = {
    "read the parent's environment", "read the parent's memory", "read the secret key",
    "read the passwords", "read another upload", "list other uploads", "write outside",
    "delete another upload", "write the input", "run another program",
}  # fmt: skip
BY_CALLS = {
    "connect by TCP", "send by UDP", "connect to an abstract socket", "connect to a socket's path",
    "trace the parent", "signal the parent", "signal all", "leave its group",
    "make a user namespace", "make a network", "make mounts", "use BPF", "use the keyring",
    "use io_uring", "use userfaultfd", "use performance events", "hold a process",
    "bound another", "slow another down", "give another one processor",
    "have another run when idle",
    "have another's disk wait", "open the secret key to all", "open the secret key to all anew",
    "give another upload away", "make another upload old", "make its input old",
    "mark another upload", "watch the uploads", "share memory", "share messages",
    "share semaphores",
}  # fmt: skip
#: What a child that starts no program may not do either.
BY_CALLS_ALONE = {"fork", "run another program", "signal another"}
#: Who is not root, or has none of root's rights, has no right to these; an undumpable parent keeps
#: its own besides.
BY_RIGHTS = {
    "read the parent's environment", "read the parent's memory", "trace the parent",
    "make a network", "make mounts", "raise its limits",
}  # fmt: skip


def by_landlock() -> set[str]:
    version = landlock.version()
    refused = BY_FILES | {"trace the parent"}
    if version >= landlock.TCP_SINCE:
        refused |= {"connect by TCP"}
    if version >= landlock.SCOPES_SINCE:
        refused |= {"connect to an abstract socket", "signal the parent", "signal another"}
    return refused


@pytest.fixture
def world(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a child would reach: files, sockets, another process. This one is its parent."""
    hide_memory()
    files = {}
    for name in ("secret", "upload", "deleted", "input"):
        files[name] = str(tmp_path / "files" / name)
        Path(files[name]).parent.mkdir(exist_ok=True)
        Path(files[name]).write_text(name)
    (tmp_path / "out").mkdir()
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        named, abstract = f"{tmp_path}/s", f"cutmv-{os.getpid()}"
        for address in (named, f"\0{abstract}"):
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.bind(address)
            made.listen()
        other = subprocess.Popen(["sleep", "60"])
        stack.callback(other.wait)
        stack.callback(other.kill)
        yield files | {
            "outside": str(tmp_path / "files" / "new"),
            "output": str(tmp_path / "out"),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "abstract": abstract,
            "path": named,
            "other": other.pid,
        }


def access_to(world: dict[str, Any], *programs: str) -> Access:
    script = str(Path(escapes.__file__))
    return Access((world["input"], script), (world["output"],), programs)


def escaped_from(world: dict[str, Any], applied: Sequence[str]) -> set[str]:
    argv = command(
        [*SCRIPT, json.dumps(world)],
        access_to(world),
        memory_bytes=2**30,
        output_bytes=1_000_000,
        cpu_s=20,
        applied=applied,
    )
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout)["escaped"])


def need(name: str) -> None:
    if name not in protections():
        pytest.skip(f"this machine has no {name}")


def test_without_a_protection_a_child_reaches_everything_but_what_limits_refuse(
    world: dict[str, Any],
) -> None:
    found = escaped_from(world, [])
    assert found >= NEEDED | BY_FILES - BY_RIGHTS | {"connect by TCP", "signal another", "fork"}
    assert not found & LIMITED
    if os.geteuid() == 0:
        assert "read the parent's environment" in found


def test_landlock_alone_keeps_files_and_processes_from_it(world: dict[str, Any]) -> None:
    need("Landlock")
    found = escaped_from(world, ["Landlock"])
    assert found & (by_landlock() | LIMITED) == set()
    assert found >= NEEDED


def test_a_filter_of_calls_alone_keeps_the_network_and_the_kernel_from_it(
    world: dict[str, Any],
) -> None:
    need("seccomp")
    found = escaped_from(world, ["seccomp"])
    assert found & (BY_CALLS | BY_CALLS_ALONE | LIMITED) == set()
    assert found >= NEEDED


def test_without_roots_rights_it_reads_nothing_of_its_parent(world: dict[str, Any]) -> None:
    need("no rights of root")
    assert escaped_from(world, ["no rights of root"]) & (BY_RIGHTS | LIMITED) == set()


def test_all_protections_together_leave_its_input_and_its_output(world: dict[str, Any]) -> None:
    need("Landlock")
    need("seccomp")
    assert escaped_from(world, protections()) == NEEDED


def test_what_starts_a_program_is_held_as_well(world: dict[str, Any]) -> None:
    need("Landlock")
    need("seccomp")
    told: list[str] = []
    ended = run(
        [*SCRIPT, json.dumps(world)],
        limits=Limits(2**30, 1_000_000, 60),
        access=access_to(world, "/bin/true"),
        on_line=told.append,
    )
    assert ended.code == 0, ended.stderr
    assert set(json.loads(told[0])["escaped"]) == NEEDED | {"fork"}


#: Starts threads until it may start no more, and tells how many.
MANY_THREADS = """
import threading
threading.stack_size(64 * 1024)
end, started = threading.Event(), 0
try:
    while started < 20_000:
        threading.Thread(target=end.wait).start()
        started += 1
except RuntimeError:
    pass
end.set()
print(started)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone becomes somebody else")
def test_who_is_not_root_starts_a_bounded_number_of_threads(world: dict[str, Any]) -> None:
    argv = command(
        [sys.executable, "-I", "-S", "-c", MANY_THREADS],
        access_to(world),
        memory_bytes=2**33,
        output_bytes=1_000_000,
        cpu_s=60,
        applied=[],
    )
    # The interpreter may be root's, so that who becomes somebody else still has to read it.
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    other = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", *reads]
    done = subprocess.run([*other, *argv], capture_output=True, text=True, check=True, timeout=60)
    running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    assert MORE_TASKS // 2 < int(done.stdout) <= MORE_TASKS + running + 200
