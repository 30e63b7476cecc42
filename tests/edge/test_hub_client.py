"""The transport's side of the hub: its one connection, and what happens when it breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from cutmv.transports.cloudflare.edge.hub_client import TAKE_OVER_AFTER, HubClient, fits
from cutmv.transports.cloudflare.messages import BroadcastMessage
from tests.support.edge_worker import DEADLINE_S, KEY, Worker
from tests.support.processes import wait_for

pytestmark = pytest.mark.edge

#: Seconds: less than those after which the runtime hangs up, having said goodbye.
SOON_S = 6


@pytest.fixture
def hub(hub_worker: Worker) -> Iterator[HubClient]:
    hub = HubClient(hub_worker.url, KEY, uuid4().hex)
    yield hub
    hub.close(5)


def test_whichever_thread_starts_it_all_wait_until_it_is_there(hub: HubClient) -> None:
    together = threading.Barrier(8)

    def connected() -> bool:
        together.wait(DEADLINE_S)
        hub.start()
        return hub.connected

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: connected(), range(8)))


@pytest.mark.parametrize("char", ["x", "é", '"', "\U0001f3b5"], ids=["x", "e", "quote", "note"])
def test_what_fits_is_taken_and_what_does_not_is_not_sent(
    hub: HubClient, hub_worker: Worker, char: str
) -> None:
    most = max(n for n in range(0, 1_000_000, 10_000) if fits(char * n))
    scope = hub._scope
    told = [BroadcastMessage("news", "fanout", "", char * n) for n in (most, most + 10_000, 1)]
    with hub_worker.hub(scope=scope) as other:
        other.bind("news", "fanout", "", "mine")
        assert hub.publish(told[0]) == 1
        assert hub.publish(told[1]) is None
        assert hub.announce(told)
        assert [len(text) for text in other.texts(3)] == [most * len(char), most, 1]
    assert hub.connected


@pytest.mark.slow
def test_a_connection_that_lasted_and_broke_is_made_anew_at_once_each_time(
    hub: HubClient, hub_worker: Worker
) -> None:
    away: list[float] = []
    hub.on_away = lambda: away.append(time.monotonic())
    hub.start()
    for _ in range(3):
        wait_for(lambda: hub.connected_for > TAKE_OVER_AFTER, DEADLINE_S, "it lasts")
        with hub_worker.hub(hub.client_id, hub._scope):
            pass  # the same client again: the hub closes the former socket
        wait_for(lambda: 0 < hub.connected_for < TAKE_OVER_AFTER, SOON_S, "it is there again")
    assert away == [], "nobody stood in for it"
