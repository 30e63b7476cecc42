"""Python processes without the wait for their imports: forked from one that has made them.

Importing Celery and the transport takes longer than most of what a process of a test does then.
So the first process that a test starts here is a server, which imports them and forks whenever it
is told to. The child takes its environment, folder, arguments and files as if `python` had been
started with them, and is a process like any other: it is waited for, signalled and killed.

What is about imports, memory or an interpreter's start itself should start one: see `processes`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]

#: What the server imports; nothing that reads the environment when it is imported.
PRELOAD = (
    "boto3.session",
    "botocore.client",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "celery.events.state",
    "celery.fixups.django",
    "celery.loaders.app",
    "celery.worker.autoscale",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "cutmv.cli",
    "cutmv.config",
    "cutmv.emulator.cli",
    "cutmv.jobs",
    "cutmv.media",
    "cutmv.progress",
    "cutmv.storage.r2",
    "cutmv.transports.cloudflare.celery_hooks.worker",
    "cutmv.transports.cloudflare.transport",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "kombu.transport.redis",
    "kombu.transport.virtual",
    "pydantic",
    "rich.console",
    "uvicorn",
)

#: Bytes of a request: the arguments and the environment of a process.
_REQUEST = 1 << 20


class Forked:
    """A child of the server, with the methods of `subprocess.Popen`."""

    def __init__(self, line: socket.socket, argv: Sequence[str]) -> None:
        self._line, self.args = line, argv
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.pid = int(line.recv(8))

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self._look(0.5 if end is None else end - time.monotonic())) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float) -> int | None:
        with self._lock:
            if self.returncode is None:
                self._line.settimeout(max(seconds, 0.0))
                with contextlib.suppress(BlockingIOError, TimeoutError):
                    told = self._line.recv(32)
                    self.returncode = int(told) if told else -signal.SIGKILL
                    self._line.close()
            return self.returncode


def python(
    *argv: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: IO[Any] | None = None,
    stdout: IO[Any] | int | None = None,
    stderr: IO[Any] | int | None = None,
    new_session: bool = False,
) -> Forked:
    """Start `python ARGV…`, where ARGV begins with `-m MODULE` or `-c CODE`."""
    request = {
        "argv": argv,
        "env": dict(env),
        "cwd": str(cwd or Path.cwd()),
        "new_session": new_session,
    }
    ours, theirs = socket.socketpair()
    with theirs, Path(os.devnull).open("rb") as nothing:
        out = _number(stdout, 1)
        files = [
            _number(stdin or nothing, 0),
            out,
            out if stderr == subprocess.STDOUT else _number(stderr, 2),
        ]
        line, _ = _server()
        socket.send_fds(line, [json.dumps(request).encode()], [theirs.fileno(), *files])
    return Forked(ours, argv)


def run_python(
    *argv: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    input: str = "",
    timeout: float = 60,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGV…` to its end, as `subprocess.run` does; its output is captured."""
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        stdin.write(input.encode())
        stdin.seek(0)
        child = python(*argv, env=env, cwd=cwd, stdin=stdin, stdout=out, stderr=err)
        try:
            code = child.wait(timeout)
        finally:
            child.kill()
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
    if check and code:
        sys.stderr.write(texts[1])
        raise subprocess.CalledProcessError(code, argv, *texts)
    return subprocess.CompletedProcess(argv, code, *texts)


def _number(file: IO[Any] | int | None, default: int) -> int:
    if file is None:
        return default
    return file if isinstance(file, int) else file.fileno()


@lru_cache(maxsize=1)
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The line to this process's server, and the server, which ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    return ours, server


# The server


def serve(line: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return the request in the child, and nothing when all is over."""
    children: dict[int, socket.socket] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([line, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            while ended := _ended():
                with contextlib.suppress(OSError), children.pop(ended[0]) as waiting:
                    waiting.sendall(b"%d" % ended[1])
        if line in ready:
            data, files, _, _ = socket.recv_fds(line, _REQUEST, 4)
            if not data:
                return None
            if not (pid := os.fork()):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for number, file in enumerate(files[1:]):
                    os.dup2(file, number)
                os.closerange(3, 256)
                return dict(json.loads(data))
            children[pid] = socket.socket(fileno=files[0])
            children[pid].sendall(b"%-8d" % pid)
            for file in files[1:]:
                os.close(file)


def _ended() -> tuple[int, int] | None:
    """The pid and exit code of a child that has ended."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def become(request: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    if request["new_session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    first, *argv = request["argv"]
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = ["" if first == "-c" else request["cwd"], *paths]
    if first == "-m":
        sys.argv = argv
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        return
    sys.argv = ["-c", *argv[1:]]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(argv[0], "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    for name in PRELOAD:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork has one thread only"
    gc.collect()
    gc.freeze()
    if asked := serve(socket.socket(fileno=int(sys.argv[1]))):
        become(asked)
