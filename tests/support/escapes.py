"""A hijacked child: tries each escape from its sandbox, and prints which succeeded, as JSON.

The sandbox runs it as a script, with the standard library alone: `escapes.py JSON`, which names
what it tries to reach.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
#: Numbers of calls on x86_64 and aarch64, of those that ctypes finds no function for.
CALLS = {
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "pidfd_open": (434, 434),
    "perf_event_open": (298, 241),
    "ioprio_set": (251, 30),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmctl": (31, 195),
    "msgctl": (71, 187),
    "semctl": (66, 191),
    "fchmodat2": (452, 452),
}
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS = 0x10000000, 0x40000000, 0x00020000


def reads(path: str) -> Callable[[], object]:
    return lambda: open(path, "rb").read(1)  # noqa: PTH123 - the process ends soon


def called(name: str, *arguments: int) -> Callable[[], None]:
    """A call that is refused with EPERM, or fails in some other way: then it was let through."""

    def call() -> None:
        number = CALLS[name][os.uname().machine == "aarch64"]
        if LIBC.syscall(number, *arguments) < 0 and ctypes.get_errno() == 1:
            raise PermissionError(name)

    return call


def called_at(name: str, path: str, *arguments: int) -> Callable[[], None]:
    """A call with a path, as `called`; one that the kernel does not have is no escape."""

    def call() -> None:
        number = CALLS[name][os.uname().machine == "aarch64"]
        if LIBC.syscall(number, -100, path.encode(), *arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return call


def shares(
    get: str, arguments: tuple[int, ...], end: str, ends: tuple[int, ...]
) -> Callable[[], None]:
    """What System V's calls make, and its end at once."""

    def call() -> None:
        column = os.uname().machine == "aarch64"
        if (made := LIBC.syscall(CALLS[get][column], *arguments)) < 0:
            raise OSError(ctypes.get_errno(), get)
        LIBC.syscall(CALLS[end][column], made, *ends)

    return call


def checked(function: str, *arguments: int) -> Callable[[], None]:
    def call() -> None:
        if getattr(LIBC, function)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), function)

    return call


def connects(family: int, address: object) -> Callable[[], None]:
    def call() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as made:
            made.settimeout(5)
            made.connect(address)  # type: ignore[arg-type]

    return call


def udp(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"secret", ("127.0.0.1", port))


def forks() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def runs_another_program() -> None:
    if os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", ":"]) != 0:
        raise OSError("it did not run")


def traces(process: int) -> None:
    if LIBC.ptrace(PTRACE_ATTACH, process, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(process, 0x40000000)  # __WALL
    LIBC.ptrace(PTRACE_DETACH, process, 0, 0)


def allocates() -> None:
    len(bytearray(2**31))


def writes_much(folder: str) -> None:
    with Path(folder, "large").open("wb") as file:
        file.write(b"\0" * 2_000_000)


def main() -> None:
    told = json.loads(sys.argv[1])
    parent, other = os.getppid(), told["other"]
    tries: dict[str, Callable[[], object]] = {
        "read the parent's environment": reads(f"/proc/{parent}/environ"),
        "read the parent's memory": reads(f"/proc/{parent}/mem"),
        "read the secret key": reads(told["secret"]),
        "read the passwords": reads("/etc/passwd"),
        "read another upload": reads(told["upload"]),
        "list other uploads": lambda: next(Path(told["upload"]).parent.iterdir()),
        "write outside": lambda: Path(told["outside"]).write_text("x"),
        "delete another upload": lambda: Path(told["deleted"]).unlink(),
        "write the input": lambda: Path(told["input"]).open("r+b").close(),
        "connect by TCP": connects(socket.AF_INET, ("127.0.0.1", told["tcp"])),
        "send by UDP": lambda: udp(told["udp"]),
        "connect to an abstract socket": connects(socket.AF_UNIX, f"\0{told['abstract']}"),
        "connect to a socket's path": connects(socket.AF_UNIX, told["path"]),
        "fork": forks,
        "run another program": runs_another_program,
        "trace the parent": lambda: traces(parent),
        "signal the parent": lambda: os.kill(parent, 0),
        "signal another": lambda: os.kill(other, 0),
        "signal all": lambda: os.kill(-1, 0),
        "leave its group": checked("setsid"),
        "make a network": checked("unshare", CLONE_NEWNET),
        "make mounts": checked("unshare", CLONE_NEWNS),
        # After these two, which it has the right to inside.
        "make a user namespace": checked("unshare", CLONE_NEWUSER),
        "use BPF": called("bpf", 0, 0, 0),
        "use the keyring": called("keyctl", 0, 0, 0, 0, 0),
        "use io_uring": called("io_uring_setup", 0, 0),
        "use userfaultfd": called("userfaultfd", -1),
        "use performance events": called("perf_event_open", 0, 0, 0, 0, 0),
        "hold a process": called("pidfd_open", parent, 0),
        "bound another": lambda: resource.prlimit(other, resource.RLIMIT_CORE, (0, 0)),
        "slow another down": lambda: os.setpriority(os.PRIO_PROCESS, other, 19),
        "give another one processor": lambda: os.sched_setaffinity(other, {0}),
        "have another run when idle": lambda: os.sched_setscheduler(
            other, os.SCHED_IDLE, os.sched_param(0)
        ),
        "have another's disk wait": called("ioprio_set", 1, other, 3 << 13),
        "open the secret key to all": lambda: Path(told["secret"]).chmod(0o644),
        "open the secret key to all anew": called_at("fchmodat2", told["secret"], 0o644, 0),
        "give another upload away": lambda: os.chown(told["upload"], os.getuid(), os.getgid()),
        "make another upload old": lambda: os.utime(told["upload"], (0, 0)),
        "make its input old": lambda: os.utime(told["input"], (0, 0)),
        "mark another upload": lambda: os.setxattr(told["upload"], "user.a", b"a"),
        "watch the uploads": checked("inotify_init1", 0),
        "share memory": shares("shmget", (0, 4096, 0o600), "shmctl", (0, 0)),
        "share messages": shares("msgget", (0, 0o600), "msgctl", (0, 0)),
        "share semaphores": shares("semget", (0, 1, 0o600), "semctl", (0, 0)),
        "raise its limits": lambda: resource.setrlimit(
            resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        ),
        "take too much memory": allocates,
        "write too large a file": lambda: writes_much(told["output"]),
        "read its input": reads(told["input"]),
        "write its output": lambda: Path(told["output"], "made").write_text("x"),
    }
    escaped = []
    for name, attempt in tries.items():
        try:
            attempt()
            escaped.append(name)
        except (OSError, MemoryError, ValueError):
            continue
    print(json.dumps({"escaped": escaped}))


if __name__ == "__main__":
    main()
