"""Run one program under limits, and never longer than the process that started it.

`child` starts it as a script of its own (`python -I -S sandbox.py PARENT MEMORY OUTPUT CPU SOFT
PROGRAM ARGS…`), because code that runs between fork and exec in a threaded parent can deadlock.
It becomes the program by exec, so the process id is the program's.
"""

import os
import resource
import signal
import sys

#: prctl(2): the signal this process gets when the thread that started it ends.
PR_SET_PDEATHSIG = 1
#: Files FFmpeg may hold open: input, output, pipes, libraries and what a driver of graphics opens.
MAX_OPEN_FILES = 256


def main() -> None:
    """Set the limits given as arguments (process id, bytes, bytes, seconds), then exec.

    With a last 1 what the program starts may have more memory.
    """
    parent, memory, output, cpu, soft = (int(argument) for argument in sys.argv[1:6])
    program = sys.argv[6:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _limit(resource.RLIMIT_AS, memory, soft=bool(soft))
    if os.getppid() != parent:  # it ended before the line above could take effect
        sys.exit(1)
    _limit(resource.RLIMIT_FSIZE, output)
    _limit(resource.RLIMIT_CPU, cpu)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    # Python ignores SIGXFSZ, and exec keeps that: a write past the limit is then an error
    # that FFmpeg reports, not a silent end.
    os.execv(program[0], program)  # noqa: S606 - a list of our own making, and no shell


def _limit(what: int, value: int, *, soft: bool = False) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, hard if soft else value))


if __name__ == "__main__":
    main()
