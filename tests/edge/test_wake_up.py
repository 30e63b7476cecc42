"""Workers that pull, and that the hub wakes up: they leave an empty queue in peace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cutmv.transports.cloudflare.edge import HubClient
from cutmv.transports.cloudflare.messages import BroadcastMessage
from tests.support.edge_worker import KEY, Worker
from tests.support.emulator import EmulatorProcess
from tests.support.transport import CloudflareSite, wait_until

pytestmark = pytest.mark.edge

#: Seconds without a pull after which nobody polls: what does, does so each second.
QUIET_S = 4.0
#: Seconds in which a woken worker starts a task, on a busy machine; a poll comes in 60.
SOON_S = 20.0


#: A message that is for nobody: the hub's answer shows that it has dealt with all before.
NOWHERE = BroadcastMessage("nowhere", "fanout", "", "")


class WatchedSite(CloudflareSite):
    """A site whose queue the Worker has no binding for: its hub alone is used."""

    def __init__(self, emulator: EmulatorProcess, directory: Path, edge: Worker) -> None:
        super().__init__(emulator, directory)
        self.edge = edge
        self.broker |= {"CLOUDFLARE_EDGE_URL": edge.url, "CLOUDFLARE_EDGE_KEYS": KEY}
        self._pulls = (-1, 0.0)

    def is_quiet(self) -> bool:
        """Whether nobody has pulled for a while."""
        pulls = self.emulator.stats()["calls"].get("pull", {}).get("200", 0)
        now = time.monotonic()
        if pulls != self._pulls[0]:
            self._pulls = (pulls, now)
        return now - self._pulls[1] > QUIET_S

    def ran(self, value: str) -> bool:
        """Whether the task that notes `value` ran."""
        return value in [note["value"] for note in self.notes("record")]


@pytest.fixture
def site(
    emulator: EmulatorProcess, tmp_path: Path, make_worker: Callable[..., Worker]
) -> Iterator[WatchedSite]:
    site = WatchedSite(emulator, tmp_path, make_worker())
    site.ready(site.worker())
    yield site
    site.close()


@pytest.mark.slow
def test_an_empty_queue_is_not_polled_and_its_tasks_start_at_once(site: WatchedSite) -> None:
    for number in range(3):
        wait_until(site.is_quiet, 40, "the worker leaves the queue in peace")
        site.send("record", f"task {number}")
        wait_until(lambda n=number: site.ran(f"task {n}"), SOON_S, "its worker was woken")  # type: ignore[misc]
    wait_until(lambda: not site.held(), SOON_S, "all are acked, and none is left")


@pytest.mark.slow
def test_a_queue_that_holds_a_delayed_task_is_polled_until_it_is_due(site: WatchedSite) -> None:
    wait_until(site.is_quiet, 40, "the worker leaves the queue in peace")
    site.send("record", "later", countdown=8)
    due = time.time() + 8
    wait_until(lambda: site.ran("later"), 8 + SOON_S, "nobody is woken when it is due")
    assert time.time() > due - 1.5, "never early: sent just before"
    wait_until(site.is_quiet, 40, "and then there is peace again")


@pytest.mark.slow
def test_queues_are_polled_while_the_hub_is_away(site: WatchedSite) -> None:
    wait_until(site.is_quiet, 40, "the worker leaves the queue in peace")
    site.edge.stop()
    wait_until(lambda: not site.is_quiet(), SOON_S, "it polls again")
    site.send("record", "polled")
    wait_until(lambda: site.ran("polled"), SOON_S)


@pytest.mark.slow
def test_a_client_is_woken_for_what_it_may_have_missed(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker()
    wake_ups = threading.Semaphore(0)
    watcher, waker = (HubClient(worker.url, KEY, "") for _ in range(2))
    try:
        watcher.watch("work", wake_ups.release)
        assert wake_ups.acquire(timeout=SOON_S), "it is watched from now on, and before it was not"
        waker.wake_up("work")
        assert wake_ups.acquire(timeout=SOON_S)
        worker.stop()
        assert wake_ups.acquire(timeout=SOON_S), "nobody wakes any more"
        worker.start()
        assert wake_ups.acquire(timeout=SOON_S), "it is watched again"
        for hub in (watcher, waker):  # the runtime may drop a connection while it starts
            wait_until(lambda hub=hub: hub.publish(NOWHERE) == 0, SOON_S)  # type: ignore[misc]
        while wake_ups.acquire(blocking=False):
            pass
        watcher.unwatch("work", wake_ups.release)
        waker.wake_up("work")
        for hub in (waker, watcher):
            assert hub.publish(NOWHERE) == 0
        assert not wake_ups.acquire(blocking=False)
    finally:
        for hub in (watcher, waker):
            hub.close(2)
