"""Workers in containers: the real Container class, in the real runtime, over real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.transport.test_push import PushSite
from tests.support.container_host import ContainerHost, ContainerWorker
from tests.support.edge_worker import KEY, install
from tests.support.emulator import EmulatorProcess
from tests.support.processes import wait_for
from tests.support.queues import make_pushed

pytestmark = [pytest.mark.edge, pytest.mark.slow]

#: The local runtime pushes one message of a queue at a time, so each task has a queue of its own.
QUEUES = [f"serverless-{number}" for number in range(4)]
#: Seconds without a task after which a container sleeps here.
SLEEP_S = 2
#: Seconds in which a process starts and takes a task, on a busy machine.
SOON_S = 60


class Serverless(PushSite):
    """A stranger's Celery app, of which no worker is started by hand."""

    def __init__(self, emulator: EmulatorProcess, folder: Path, **variables: str) -> None:
        super().__init__(emulator, folder)
        for queue in QUEUES:
            make_pushed(emulator, queue)
        argv = ["celery", "-A", self.app, "worker", "-n", "stranger@%n", "-l", "INFO", "-c", "1"]
        argv += ["--without-gossip", "--without-mingle", "-Q", ",".join([*QUEUES, "pulled"])]
        self.host = ContainerHost(folder, argv, self.env(pulled_queues=["pulled"]))
        self.edge = ContainerWorker(
            folder / "edge",
            {
                "SUPERVISOR_URL": self.host.url,
                "INGRESS_URL": "",
                "CONTAINERS": "2",
                "CONTAINER_SLEEP_AFTER_S": str(SLEEP_S),
                "CONTAINER_PULLS": "pulled",
                **variables,
            },
            {queue: {} for queue in QUEUES},
        )
        self.edge.start()
        self.broker |= {"CLOUDFLARE_EDGE_URL": self.edge.url, "CLOUDFLARE_EDGE_KEYS": KEY}
        self.host.env = self.env(pulled_queues=["pulled"])

    def publish(self, task: str, *args: Any, queue: int = 0) -> None:
        """Send a task through the Worker."""
        self.send(task, *args, queue=QUEUES[queue])

    def told(self, event: str, count: int, within: float = SOON_S) -> list[dict[str, Any]]:
        """The notes of an event, once there are so many."""
        try:
            wait_for(lambda: len(self.notes(event)) >= count, within, f"{count} {event}")
        except AssertionError as error:
            assert self.edge.process
            raise AssertionError(f"{error}\n{self.host.logs()}\n{self.edge.process.log}") from None
        notes = self.notes(event)
        assert len(notes) == count
        return notes

    def asleep(self) -> None:
        """Wait until no container runs."""
        wait_for(lambda: not self.host.running(), SOON_S, "all sleep")

    def close(self) -> None:
        super().close()
        self.edge.stop()
        self.host.close()


@pytest.fixture
def make(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[Callable[..., Serverless]]:
    install()
    made: list[Serverless] = []

    def start(**variables: str) -> Serverless:
        made.append(Serverless(emulator, tmp_path, **variables))
        return made[-1]

    yield start
    for site in made:
        site.close()


def test_messages_start_containers_up_to_the_limit_and_idle_ones_sleep(
    make: Callable[..., Serverless], tmp_path: Path
) -> None:
    site = make(SECRET_OF_THE_APP="given")
    go = tmp_path / "go"
    for number in range(3):
        site.publish("hold", number, str(go), queue=number)
    site.told("started", 2)
    assert sorted(site.host.running()) == ["worker-0", "worker-1"]

    go.touch()
    site.told("ended", 3)

    assert len(site.host.started) == 2, "one more message than slots starts no container"
    assert all(not note["redelivered"] for note in site.notes("started"))
    env = site.host.given[0]["env"]
    assert (env["SECRET_OF_THE_APP"], env["CLOUDFLARE_CONSUME"]) == ("given", "push")
    assert not {"INGRESS_URL", "CONTAINERS", "EDGE_KEYS"} & env.keys()
    site.asleep()
    assert [process.child.wait(1) for _, process in site.host.started] == [0, 0], site.host.logs()

    site.publish("record", "again")
    site.told("record", 1)
    assert site.host.running() == ["worker-0"]
    site.asleep()


def test_a_task_that_outlasts_the_sleep_is_not_cut_off_however_it_came(
    make: Callable[..., Serverless], tmp_path: Path
) -> None:
    site = make()
    site.publish("nap", "pushed", 3.0 * SLEEP_S)
    site.told("nap", 1)
    assert "shutdown" not in site.host.process("worker-0").log.lower()
    site.asleep()

    site.host.backlog = lambda: 1
    site.send("nap", "pulled", 3.0 * SLEEP_S, queue="pulled")
    site.edge.http.get(f"{site.edge.url}/cdn-cgi/handler/scheduled")
    wait_for(site.host.running, SOON_S, "the cron starts a container")
    site.told("nap", 2)
    assert "shutdown" not in site.host.process("worker-0").log.lower()

    assert len(site.host.started) == 2
    assert [note["value"] for note in site.notes("nap")] == ["pushed", "pulled"]
    site.asleep()


def test_the_message_of_a_lost_container_runs_in_the_next_within_seconds(
    make: Callable[..., Serverless], tmp_path: Path
) -> None:
    site = make()
    go = tmp_path / "go"
    site.publish("hold", "lost", str(go))
    site.told("started", 1)

    site.host.process("worker-0").kill()

    again = site.told("started", 2)
    assert again[1]["at"] - again[0]["at"] < SOON_S / 2
    assert again[1]["redelivered"]
    go.touch()
    site.told("ended", 1)
    assert len(site.host.started) == 2


def test_a_container_that_can_t_start_leaves_its_message_to_another(
    make: Callable[..., Serverless],
) -> None:
    site = make()
    site.host.refused = 1

    site.publish("record", "all the same")

    (note,) = site.told("record", 1)
    assert not note["redelivered"]
    assert [each["name"] for each in site.host.given][:1] == ["worker-0"]


def test_a_deploy_in_mid_task_leaves_the_task_alone(
    make: Callable[..., Serverless], tmp_path: Path
) -> None:
    site = make()
    go = tmp_path / "go"
    site.publish("hold", "on", str(go))
    site.told("started", 1)

    for _ in range(2):
        httpx.post(f"{site.edge.url}/deploy")
    # The task outlives the connection, and the next one gets its outcome.
    assert site.edge.process
    wait_for(lambda: "push-server-failed" in site.edge.process.log, SOON_S, "the stream broke")
    go.touch()

    site.told("ended", 1)
    site.edge.wait_for_batches(QUEUES[0], "1/1")
    assert len(site.notes("started")) == 1
    assert len(site.host.started) == 1


def test_doctor_s_question_starts_a_container_and_tells_its_slots(
    make: Callable[..., Serverless],
) -> None:
    site = make()

    (found,) = site.edge.post("/v1/ingress/check", {"queue": QUEUES[0]}).json()["push_servers"]
    assert (found["url"], found["status"], found["slots"]) == ("container", 200, 1)

    site.asleep()
    site.host.refused = 100
    (found,) = site.edge.post("/v1/ingress/check", {"queue": QUEUES[0]}).json()["push_servers"]
    assert found["status"] != 200
    assert "container" in found["detail"].lower()


def test_a_worker_that_hangs_is_told_to_end_and_the_next_message_starts_another(
    make: Callable[..., Serverless],
) -> None:
    site = make()
    site.publish("record", 1)
    site.told("record", 1)
    (_, process) = site.host.started[0]
    os.kill(process.child.pid, signal.SIGSTOP)

    wait_for(lambda: "container-silent" in site.edge.process.log, SOON_S, "it is asked in vain")
    os.kill(process.child.pid, signal.SIGCONT)

    site.asleep()
    site.publish("record", 2)
    site.told("record", 2)
