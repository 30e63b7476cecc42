"""The supervisor of `cutmv up`: runs the web server, and with a broker a worker beside it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType

import click
import httpx

from cutmv.config import Settings

#: Seconds that the web server has to answer for the first time.
START_TIMEOUT_S = 60.0
#: Seconds between checks whether the child processes run.
CHECK_INTERVAL_S = 0.5
#: Seconds that child processes have for a warm shutdown, before they are killed.
STOP_TIMEOUT_S = 20.0
#: Seconds before a worker that ended is started again, so that a broken one uses no processor.
RESTART_DELAY_S = 3.0
#: Seconds from its start within which the end of a worker is a quick one.
QUICK_END_S = 30.0
#: Quick ends in a row after which the worker is not started again: it can't start at all.
MAX_QUICK_ENDS = 4
#: prctl(2): the signal this process gets when its parent ends.
PR_SET_PDEATHSIG = 1


def supervise(settings: Settings, host: str, port: int, concurrency: int) -> int:
    """Run until told to stop (SIGINT, SIGTERM) or the web server ends; returns the exit code.

    Prints the address to open once it answers.
    """
    port = _free_port(host, port)
    # A server that listens on all addresses is reached at the machine's own.
    here = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    address = f"http://{_authority(here, port)}"
    env = dict(os.environ)
    if settings.mode == "cloudflare" and settings.webhook_url is None:
        # Over Cloudflare the web server receives no events, which would cost two pulls a second:
        # the worker uses its webhook.
        env["WEBHOOK_URL"] = address
    stop = threading.Event()

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, told)
    signal.signal(signal.SIGTERM, told)
    web = _start(["gunicorn", *web_options(host, port)], env)
    worker_argv = ["celery", "-A", "cutmv", "worker", "-l", "INFO", "-c", str(concurrency)]
    children = [web]
    try:
        if not _answers(address, web, stop):
            return 0 if stop.is_set() else 1
        worker = None if settings.mode == "eager" else _start(worker_argv, env)
        children += [worker] if worker else []
        started_at, quick_ends = time.monotonic(), 0
        click.echo(f"CUTMV is at {address} (mode: {settings.mode}). Ctrl+C ends it.")
        while not stop.wait(CHECK_INTERVAL_S):
            if web.poll() is not None:
                click.echo("The web server ended; see its log above.", err=True)
                return 1
            if worker and worker.poll() is not None:
                quick = time.monotonic() - started_at < QUICK_END_S
                quick_ends = quick_ends + 1 if quick else 0
                if quick_ends == MAX_QUICK_ENDS:
                    click.echo(
                        f"The worker ended {quick_ends} times soon after its start;"
                        " see its log above for the reason.",
                        err=True,
                    )
                    return 1
                click.echo("The worker ended and is started again.", err=True)
                stop.wait(RESTART_DELAY_S)
                children.remove(worker)
                worker, started_at = _start(worker_argv, env), time.monotonic()
                children.append(worker)
        return 0
    finally:
        _end(children)


def web_options(host: str, port: int) -> list[str]:
    """The options by which gunicorn serves the web application."""
    bind = _authority(host, port)
    return ["-c", "python:cutmv.web.server", "-b", bind, "cutmv.web.wsgi:app"]


def _authority(host: str, port: int) -> str:
    """Host and port as a URL has them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _start(argv: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    parent = os.getpid()
    library = ctypes.CDLL(None) if sys.platform == "linux" else None

    def end_with_parent() -> None:
        """Have the kernel send this child SIGTERM when its parent is killed."""
        if library is not None:
            library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the line above could take effect
            os._exit(1)

    # The child has a process group of its own: Ctrl+C reaches the supervisor alone, which ends the
    # children in order. Code may run between fork and exec, since this process has one thread.
    return subprocess.Popen(
        [sys.executable, "-m", *argv],
        env=env,
        process_group=0,
        preexec_fn=end_with_parent,  # noqa: PLW1509
    )


def _end(children: "Sequence[subprocess.Popen[bytes]]") -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _answers(address: str, web: "subprocess.Popen[bytes]", stop: threading.Event) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and web.poll() is None and not stop.is_set():
        try:
            if httpx.get(f"{address}/healthz", timeout=5.0).status_code == 200:
                return True
        except httpx.HTTPError:
            pass
        stop.wait(0.1)
    if not stop.is_set():
        click.echo("The web server did not start; see its log above.", err=True)
    return False


def _free_port(host: str, port: int) -> int:
    """The port to use; raises ClickException when it is taken."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise click.ClickException(
                f"Can't listen on {_authority(host, port)} ({error.strerror}):"
                " choose another --port."
            ) from error
        return int(probe.getsockname()[1])
