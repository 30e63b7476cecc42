"""Become one program in its sandbox, never longer than the process that started it.

`access.command` starts it as a script of its own (`python -I -S start.py JSON PROGRAM ARGS…`),
because code that runs between fork and exec in a threaded parent can deadlock. It becomes the
program by exec, so the process id is the program's.
"""

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

#: Files FFmpeg may hold open: input, output, pipes, libraries and what a driver of graphics opens.
MAX_OPEN_FILES = 256
#: Processes and threads that a child's user may have beyond those of the whole machine: those of
#: FFmpeg. The kernel counts none of root's.
MORE_TASKS = 1024

#: Levels down to the lowest niceness, from any.
LEAST = 40


def main() -> None:
    """Apply what the first argument asks for, then exec the rest. Exits with a line if it can't."""
    told, program = json.loads(sys.argv[1]), sys.argv[2:]
    _limit_all(told)
    try:
        _protect(told)
    except OSError as error:
        sys.exit(f"The sandbox can't be closed: {error.strerror}.")
    # Python ignores SIGXFSZ, and exec keeps that: a write past the limit is then an error
    # that FFmpeg reports, not a silent end.
    os.execv(program[0], program)  # noqa: S606 - a list of our own making, and no shell


def _limit_all(told: dict[str, Any]) -> None:
    if sys.platform == "linux":
        from cutmv.media.sandbox import kernel

        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        _limit(resource.RLIMIT_AS, told["memory"], soft=told["soft"])
        _limit(resource.RLIMIT_NPROC, _tasks() + MORE_TASKS)
    if os.getppid() != told["parent"]:  # it ended before the line above could take effect
        sys.exit(1)
    if told["nice"]:  # of none, the system is not asked either: who is in a sandbox may not
        os.nice(told["nice"])
    if told["idle"]:
        os.nice(LEAST)
        if sys.platform == "linux":
            with suppress(OSError):  # where a level is all there is
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    _limit(resource.RLIMIT_FSIZE, told["output"])
    _limit(resource.RLIMIT_CPU, told["cpu"])
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)


def _tasks() -> int:
    """How many threads the machine runs. proc_loadavg(5): the fourth field is READY/ALL."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def _limit(what: int, value: int | None, *, soft: bool = False) -> None:
    _, hard = resource.getrlimit(what)
    if value is None:
        return
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, hard if soft else value))


def _protect(told: dict[str, Any]) -> None:
    """Apply the protections; each needs those before it. Raises OSError."""
    wanted = told["protections"]
    if not wanted:
        return
    from cutmv.media.sandbox import capabilities, kernel, landlock, seccomp

    if "no rights of root" in wanted:
        capabilities.drop()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if "Landlock" in wanted:
        landlock.restrict(told["rights"])
    if "seccomp" in wanted:
        seccomp.restrict(told["parent"], forks=told["forks"])


def _find_packages() -> None:
    """Make `cutmv.media.sandbox` importable without its parents, which import far more."""
    media = Path(__file__).resolve().parent.parent
    for name, folder in (("cutmv", media.parent), ("cutmv.media", media)):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


if __name__ == "__main__":
    _find_packages()
    main()
