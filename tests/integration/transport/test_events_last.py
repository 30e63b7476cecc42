"""Events that go on after the first burst of calls is spent, without an edge Worker."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from celery import Celery

from tests.support.emulator import EmulatorProcess
from tests.support.listening import listening
from tests.support.transport import make_site, wait_until

#: Cloudflare's limit for a twelfth of its window: as many calls a second, and a twelfth of those
#: that may go at once. So what fails there after five minutes fails here after half of one.
SPENT = {"rate_limit": 100, "rate_window": 25.0}

#: Tasks, one a second.
TASKS = 40


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_events_and_heartbeats_go_on_when_the_first_burst_is_spent(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """Two workers `-E` that also hear each other, and a listener that asks as Flower does."""
    url = f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
    with (
        make_site(emulator, tmp_path) as site,
        Celery("listener", broker=url, set_as_current=False) as app,
        Celery("web", broker=url, set_as_current=False) as web,
    ):
        app.conf.broker_transport_options = {"api_base_url": emulator.base_url}
        web.conf.task_default_queue = "work"
        web.conf.broker_transport_options = {"api_base_url": emulator.base_url, "ack_linger": 0.2}
        workers = [site.worker("-E", sociable=True, gossip=True, **SPENT) for _ in range(2)]
        for worker in workers:
            site.ready(worker)
        with listening(app) as listener:
            wait_until(lambda: len(listener.beats) == 2, 30, "both are heard")
            begun, sent = time.monotonic(), []
            for number in range(TASKS):
                time.sleep(max(0.0, begun + number - time.monotonic()))
                sent.append(web.send_task("tests.support.transport_app.record", ["x"]).id)
            whole = {each: {"received", "started", "succeeded"} for each in sent}
            wait_until(lambda: listener.told(sent) == whole, 30, "each task is told of")
        logs = [worker.log() for worker in workers]

    assert listener.offline == []
    assert not [line for log in logs for line in log.splitlines() if "missed heartbeat" in line]
    for beats in listener.beats.values():
        promised = max(beat["freq"] for beat in beats)
        assert promised > 4, "three subscribers' heartbeats can't be paid each two seconds"
    assert emulator.stats()["refused"] == 0
