"""Run the engine, or FFmpeg, as a child process that can be watched, bounded and always ended."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from cutmv.media.errors import Cancelled, NoRoom, RenderTimeout, no_room
from cutmv.media.sandbox.access import Access, command
from cutmv.secrecy import hide_memory

#: Seconds between checks of `cancelled` and the clock; a cancel must end FFmpeg within a second.
POLL_INTERVAL_S = 0.1
#: Seconds between SIGTERM and SIGKILL: FFmpeg may be rewriting a large file's index.
TERM_GRACE_S = 0.4
#: Seconds after SIGKILL in which the kernel must have ended the process.
KILL_GRACE_S = 10.0
#: Levels of niceness (nice(2)) by which a child yields to us, who answer people and renew claims:
#: of a processor that both want it gets a tenth.
NICE = 10
#: Whether the children that this context starts yield to those of others, too: they have what
#: nobody else wants of the processors, and for that `YIELDING_TIMES` the time.
yielding: ContextVar[bool] = ContextVar("yielding", default=False)
YIELDING_TIMES = 20
#: Bytes of standard error kept, the latest: a damaged file can make FFmpeg write without end.
MAX_STDERR_BYTES = 16_384
#: Bytes of one line of standard output at which it is cut; no output that we use is as long.
MAX_LINE_BYTES = 1_048_576
#: The variables of our environment that the child gets: it reads hostile files, so no secrets.
PASSED_ENVIRONMENT = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUTMV_SANDBOX",
    "CUTMV_MAX_FILE_PACKETS",
    "CUTMV_MAX_FILE_STREAMS",
    "CUTMV_MAX_FILE_PIXELS",
)
#: A static FFmpeg crashes when its C library loads the system's character sets, which it does for
#: the names in a transport stream. With this it finds none, and shows the names as they are.
FIXED_ENVIRONMENT = {"GCONV_PATH": "/nonexistent"}


@dataclass(frozen=True)
class Limits:
    """What one run may use: address space and largest file in bytes, and seconds.

    Memory without a bound is for what reads nothing of a stranger's.
    """

    memory_bytes: int | None
    output_bytes: int
    time_s: float

    @property
    def cpu_s(self) -> int:
        """Processor seconds over all threads, which end FFmpeg should its parent be gone."""
        return int(self.time_s * (os.cpu_count() or 1)) + 10


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended: its exit code (negative: the signal), and the end of its errors."""

    code: int
    stderr: str


def allowance() -> int:
    """How many times as long as their limit the children that this context starts may take."""
    return YIELDING_TIMES if yielding.get() else 1


def run(
    argv: Sequence[str],
    *,
    limits: Limits,
    access: Access,
    on_line: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
    stdin: bytes = b"",
    inherited: Sequence[int] = (),
) -> ChildEnd:
    """Run `argv` in a sandbox to its end, passing each line of its standard output to `on_line`.

    It gets `stdin`, which must fit into a pipe, on its standard input, and the descriptors that are
    `inherited`. Raises NoRoom when there is
    none for another process; Cancelled or RenderTimeout, and whatever `on_line` raises, after the
    child and all of its group have ended.
    """
    deadline = time.monotonic() + limits.time_s * allowance()
    passed = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    hide_memory()
    try:
        child = subprocess.Popen(
            command(
                argv,
                access,
                memory_bytes=limits.memory_bytes,
                output_bytes=limits.output_bytes,
                cpu_s=limits.cpu_s,
                nice=NICE,
                idle=yielding.get(),
            ),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=FIXED_ENVIRONMENT | passed,
            process_group=0,
            pass_fds=inherited,
        )
    except OSError as error:
        if not no_room(error):
            raise
        raise NoRoom(f"FFmpeg can't be started: {error.strerror}.") from error
    with child:
        try:
            if child.stdin is not None:
                with contextlib.suppress(BrokenPipeError), child.stdin:
                    child.stdin.write(stdin)
            stderr = _watch(child, deadline, on_line, cancelled)
        finally:
            _end(child)
    return ChildEnd(child.returncode, stderr)


def _watch(
    child: "subprocess.Popen[bytes]",
    deadline: float,
    on_line: Callable[[str], None],
    cancelled: Callable[[], bool] | None,
) -> str:
    if child.stdout is None or child.stderr is None:
        raise AssertionError("both pipes were asked for")
    errors, line = b"", b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        while selector.get_map():
            _check(deadline, cancelled)
            for key, _ in selector.select(POLL_INTERVAL_S):
                chunk = os.read(key.fd, 65_536)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stderr:
                    errors = (errors + chunk)[-MAX_STDERR_BYTES:]
                else:
                    *lines, line = (line + chunk).split(b"\n")
                    line = line[:MAX_LINE_BYTES]
                    for each in lines:
                        on_line(each.decode("utf-8", "replace").strip())
    while child.poll() is None:  # its pipes are closed, so this is short
        _check(deadline, cancelled)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(POLL_INTERVAL_S)
    if line:
        on_line(line.decode("utf-8", "replace").strip())
    return errors.decode("utf-8", "replace")


def _check(deadline: float, cancelled: Callable[[], bool] | None) -> None:
    if cancelled is not None and cancelled():
        raise Cancelled("Cancelled.")
    if time.monotonic() > deadline:
        raise RenderTimeout("FFmpeg took longer than its time limit and was stopped.")


def _end(child: "subprocess.Popen[bytes]") -> None:
    for number, grace_s in ((signal.SIGTERM, TERM_GRACE_S), (signal.SIGKILL, KILL_GRACE_S)):
        if child.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_s)
    # The kernel kills what the child started once the child has ended, and we may hear it first.
    # All of them have its standard error, so its end is theirs.
    if child.stderr is None:
        raise AssertionError("this pipe was asked for")
    until = time.monotonic() + KILL_GRACE_S
    with selectors.DefaultSelector() as selector:
        selector.register(child.stderr, selectors.EVENT_READ)
        while (left_s := until - time.monotonic()) > 0:
            if selector.select(left_s) and not os.read(child.stderr.fileno(), 65_536):
                break
