"""Queues of an emulator in tests: `cutmv queues` on them, and the messages and calls they had."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from celery import Celery

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.options import Options
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.processes import clean_env
from tests.support.transport import connect


def run(emulator: EmulatorProcess, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = clean_env(**emulator.env())
    return run_python("-m", "cutmv", "queues", *argv, env=env, input=stdin)


def ask(emulator: EmulatorProcess, *argv: str) -> dict[str, Any]:
    """Run a command with --json; return its document."""
    done = run(emulator, *argv, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["error"] is None
    return document


def client(emulator: EmulatorProcess) -> Client:
    return Client(
        Credentials(emulator.account_id, emulator.api_token),
        Options(api_base_url=emulator.base_url),
    )


def queue_id(emulator: EmulatorProcess, name: str) -> str:
    ids = {q["queue_name"]: q["queue_id"] for q in client(emulator).list_queues(1e12)}
    return str(ids[name])


def make_pushed(emulator: EmulatorProcess, name: str) -> None:
    """Make a queue that the edge Worker consumes, and its dead-letter queue."""
    for each in (f"{name}-dead", name):
        client(emulator).create_queue(each, 1e12)
    consumer = {
        "type": "worker",
        "script_name": "cutmv-processor",
        "settings": {"batch_size": 1, "max_retries": 100},
        "dead_letter_queue": f"{name}-dead",
    }
    client(emulator).create_consumer(queue_id(emulator, name), consumer, 1e12)


def send(emulator: EmulatorProcess, *task_ids: str, queue: str = "work", **app: Any) -> None:
    """Send a task for each id, as an app does."""
    with Celery(
        "shop", broker=f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
    ) as sender:
        sender.conf.broker_transport_options = {"api_base_url": emulator.base_url, **app}
        for task_id in task_ids:
            sender.send_task("shop.pack", args=[1], task_id=task_id, queue=queue)


def make_dead(emulator: EmulatorProcess, *task_ids: str) -> None:
    """Have tasks die: each is delivered once and returned."""
    send(emulator, *task_ids, queue_max_retries=0)
    with connect(emulator) as connection:
        channel = connection.channel()
        for _ in task_ids:
            channel.basic_get("work").requeue()
    assert emulator.stats()["messages"] == {"work": 0, "work-dead": len(task_ids)}


def texts(emulator: EmulatorProcess, name: str) -> list[str]:
    return [m["body"] for m in client(emulator).peek(queue_id(emulator, name), 100, 1e12)]


def ids_in(emulator: EmulatorProcess, name: str) -> list[str]:
    return [json.loads(text)["headers"]["id"] for text in texts(emulator, name)]


def batch_calls(emulator: EmulatorProcess) -> int:
    """Return how many publishing calls there were."""
    return sum(emulator.stats()["calls"].get("batch", {}).values())


def take_ids(emulator: EmulatorProcess, queue: str = "work") -> list[str]:
    """Take all messages of a queue, and return their tasks' ids."""
    ids = []
    with connect(emulator) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(queue)) is not None:
            ids.append(message.headers["id"])
            message.ack()
    return ids
