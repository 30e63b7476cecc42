"""What the transport's integration tests share: connections, workers, and waiting."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import kombu
import redis

import cutmv.transports.cloudflare
from cutmv.transports.cloudflare.queues.bindings import TemporaryBinding
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import Forked, python, run_python

assert cutmv.transports.cloudflare

T = TypeVar("T")

ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], T], seconds: float = 20, what: str = "") -> T:
    """Return the condition's value once it is true; fail when it is not in time."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)
    return value


def noise(size: int) -> str:
    """Return text, the same each time, that does not become smaller by compression."""
    return base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()


def connect(emulator: EmulatorProcess, **options: Any) -> kombu.Connection:
    """Return a connection to the emulator; its options are the transport's."""
    return kombu.Connection(
        f"cloudflare://:{emulator.api_token}@{emulator.account_id}",
        transport_options={"api_base_url": emulator.base_url, **options},
    )


def transport_threads() -> list[str]:
    """Return the names of the transport's threads in this process."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("cloudflare")]


@dataclass
class WorkerProcess:
    """A running `celery worker` on `tests.support.transport_app`."""

    child: Forked | subprocess.Popen[bytes]
    output: Path

    def log(self) -> str:
        """Return all it has written."""
        return self.output.read_text()

    def term(self) -> None:
        """Ask for a warm shutdown."""
        self.child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and its pool at once, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(10)


class Site:
    """A broker's environment, a queue, a log that tasks write, and workers.

    `app` is the module whose Celery app the workers run and whose tasks are sent.
    """

    def __init__(
        self, broker: dict[str, str], directory: Path, app: str = "tests.support.transport_app"
    ) -> None:
        self.broker = broker
        self.app = app
        self.directory = directory
        self.notes_file = directory / "notes"
        self.notes_file.touch()
        self._workers: list[WorkerProcess] = []

    def env(self, **options: Any) -> dict[str, str]:
        """Return the environment of a process that uses the transport."""
        return {
            **os.environ,
            **self.broker,
            "PYTHONPATH": str(ROOT),
            "TRANSPORT_LOG": str(self.notes_file),
            "TRANSPORT_OPTIONS": json.dumps(options),
        }

    def worker(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        sociable: bool = False,
        **options: Any,
    ) -> WorkerProcess:
        """Start a worker; a `sociable` one talks to the others, which the broker counts too."""
        output = self.directory / f"worker-{len(self._workers)}.log"
        command = ["-m", "celery", "-A", self.app, "worker"]
        command += ["-n", f"w{len(self._workers)}@test", "-l", "INFO", "-c", "2", *args]
        command += [] if sociable else ["--without-gossip", "--without-mingle"]
        with output.open("wb") as out:
            child = self._start(command, out, {**self.env(**options), **(env or {})})
        worker = WorkerProcess(child, output)
        self._workers.append(worker)
        return worker

    def _start(
        self, argv: list[str], out: IO[bytes], env: dict[str, str]
    ) -> Forked | subprocess.Popen[bytes]:
        """Start Python in a session of its own.

        It is not forked if its imports depend on its arguments or its environment.
        """
        if not {"gevent", "eventlet"} & {*argv} and "REMAP_SIGTERM" not in env:
            return python(
                *argv,
                env=env,
                cwd=self.directory,
                stdout=out,
                stderr=subprocess.STDOUT,
                new_session=True,
            )
        return subprocess.Popen(
            [sys.executable, *argv],
            env=env,
            cwd=self.directory,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ready(self, worker: WorkerProcess) -> WorkerProcess:
        """Wait until a worker takes tasks."""
        wait_until(lambda: " ready." in worker.log(), 40, "worker ready")
        return worker

    def send(self, task: str, *args: Any, count: int = 1, **kwargs: Any) -> None:
        """Send a task, from a process of its own, as a web server would."""
        code = (
            f"import json, sys; import {self.app} as a\n"
            "task, args, count, options = json.loads(sys.argv[1])\n"
            "for _ in range(count): getattr(a, task).apply_async(args, **options)\n"
        )
        told = json.dumps([task, args, count, kwargs])
        run_python("-c", code, told, env=self.env(), check=True)

    def send_each(self, task: str, arguments: list[str], threads: int, **options: Any) -> None:
        """Send a task for each argument, from the threads of a process of its own."""
        code = (
            "import json, sys; from concurrent.futures import ThreadPoolExecutor\n"
            f"import {self.app} as a\n"
            "task, arguments, threads = json.load(sys.stdin)\n"
            "with ThreadPoolExecutor(threads) as pool:\n"
            "    list(pool.map(getattr(a, task).delay, arguments))\n"
        )
        told = json.dumps([task, arguments, threads])
        run_python("-c", code, env=self.env(**options), input=told, check=True, timeout=300)

    def send_batch(self, task: str, count: int, **options: Any) -> None:
        """Send a task without arguments many times, in calls of a hundred."""
        code = (
            f"import sys; import {self.app} as a\n"
            "task, count = getattr(a, sys.argv[1]), int(sys.argv[2])\n"
            "with a.app.producer_pool.acquire() as producer, producer.batch(max_size=1000):\n"
            "    for _ in range(count): task.apply_async(producer=producer)\n"
        )
        env = self.env(**options)
        run_python("-c", code, task, str(count), env=env, check=True, timeout=300)

    def notes(self, event: str) -> list[dict[str, Any]]:
        """Return what tasks have noted so far; the last line may still be on its way."""
        lines = self.notes_file.read_text().split("\n")[:-1]
        return [note for note in map(json.loads, lines) if note["event"] == event]

    def held(self) -> int:
        """Return how many messages the broker has, those that workers have taken included."""
        raise NotImplementedError

    def close(self) -> None:
        """Kill what still runs."""
        for worker in self._workers:
            if worker.child.poll() is None:
                worker.kill()


class CloudflareSite(Site):
    """A site whose broker is an emulator."""

    def __init__(self, emulator: EmulatorProcess, directory: Path) -> None:
        super().__init__(emulator.env(), directory)
        self.emulator = emulator

    def backlog(self) -> dict[str, int]:
        """Return how many messages each queue holds; no binding or empty dead-letter queues."""
        held = self.emulator.stats()["messages"]
        return {
            queue: count
            for queue, count in held.items()
            if not TemporaryBinding.read(queue) and (count or not queue.endswith("-dead"))
        }

    def held(self) -> int:
        """Return how many messages the queues hold, leased ones included."""
        return sum(self.backlog().values())


class RedisSite(Site):
    """A site whose broker is a Redis."""

    def __init__(self, url: str, directory: Path) -> None:
        super().__init__({"TRANSPORT_BROKER": url}, directory)
        self.url = url

    def held(self) -> int:
        """Return how many messages the queues hold, those that workers have taken included."""
        with redis.Redis.from_url(self.url) as client:
            queues = [key for key in client.scan_iter(_type="list") if b".pidbox" not in key]
            return sum(int(client.llen(key)) for key in queues) + self.taken()

    def taken(self) -> int:
        """Return how many messages workers have taken and not acknowledged, dead workers too."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.hlen("unacked"))

    def give_back(self) -> None:
        """Give back all that was taken, as a worker does after an hour (`visibility_timeout`)."""
        options = {"visibility_timeout": 0}
        with kombu.Connection(self.url, transport_options=options) as connection:
            connection.default_channel.qos.restore_visible(num=None, interval=1)


@contextmanager
def make_site(emulator: EmulatorProcess, directory: Path) -> Iterator[CloudflareSite]:
    """Yield a `CloudflareSite`, and end its workers."""
    site = CloudflareSite(emulator, directory)
    try:
        yield site
    finally:
        site.close()
