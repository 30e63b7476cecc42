"""Two workers that have nothing to do, and who listens to their events, for minutes."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.support.emulator import EmulatorProcess
from tests.support.transport import make_site, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

#: Seconds between a worker's heartbeats, as Celery has it.
BEAT_S = 2.0
#: Seconds of silence after which Celery's tools take a worker for offline: two beats and a bit.
OFFLINE_S = 5.0
#: Cloudflare's bound: calls other than pulls and acks, in five minutes.
CALLS, WINDOW_MIN = 1_200, 5


def test_idle_workers_are_heard_and_leave_the_account_in_peace(
    make_emulator: Callable[..., EmulatorProcess], tmp_path: Path, seconds: float
) -> None:
    """A report, not a promise: it asserts only that both are heard at all."""
    emulator = make_emulator()
    heard: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    receivers: list[Any] = []
    url = f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
    with (
        make_site(emulator, tmp_path) as site,
        Celery("listener", broker=url, set_as_current=False) as app,
    ):
        app.conf.broker_transport_options = {"api_base_url": emulator.base_url}

        def listen() -> None:
            def beat(event: dict[str, Any]) -> None:
                heard[event["hostname"]].append({"at": time.time(), "sent": event["timestamp"]})

            with app.connection() as connection:
                receivers.append(
                    app.events.Receiver(connection, handlers={"worker-heartbeat": beat})
                )
                receivers[0].capture(wakeup=False)

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            workers = [site.worker("-E", sociable=True) for _ in range(2)]
            for worker in workers:
                site.ready(worker)
            wait_until(lambda: len(heard) == 2, 120, "both are heard")
            before, begun = emulator.stats()["calls"], time.time()
            time.sleep(seconds)
            after, ended = emulator.stats(), time.time()
        finally:
            receivers[0].should_stop = True
            listener.join(60)
        said = [worker.log() for worker in workers]
    show(heard, before, after, begun, ended)
    for line in {
        line.split("] ")[-1] for log in said for line in log.splitlines() if "WARN" in line
    }:
        print(f"  a worker says: {line}")
    assert len(heard) == 2


def show(
    heard: dict[str, list[dict[str, Any]]],
    before: dict[str, dict[str, int]],
    after: dict[str, Any],
    begun: float,
    ended: float,
) -> None:
    """Print how many beats were missed, how late the others came, and what it cost."""
    minutes = (ended - begun) / 60
    print(f"\n{minutes:.1f} minutes, load average at the end {os.getloadavg()[0]:.1f}")
    expected = int((ended - begun) / BEAT_S)
    for name, beats in sorted(heard.items()):
        came = [beat for beat in beats if begun <= beat["at"] <= ended]
        times = [begun, *(beat["at"] for beat in came), ended]
        silences = [later - earlier for earlier, later in itertools.pairwise(times)]
        late = sorted(beat["at"] - beat["sent"] for beat in came) or [0.0]
        print(
            f"  {name}: {expected - len(came)} of {expected} heartbeats missed; "
            f"silent for {max(silences):.0f} s at most, "
            f"{sum(silence > OFFLINE_S for silence in silences)} times over {OFFLINE_S:.0f} s; "
            f"late by {late[len(late) // 2]:.1f} s (median), {late[-1]:.1f} s (most)"
        )
    counted = 0
    for route, answers in sorted(after["calls"].items()):
        calls = sum(answers.values()) - sum(before.get(route, {}).values())
        counted += 0 if route in ("pull", "ack") else calls
        print(f"  {route}: {calls} calls, {calls / minutes:.0f} a minute")
    print(
        f"  counted against the limit: {counted / minutes * WINDOW_MIN:.0f} of {CALLS:,} "
        f"in {WINDOW_MIN} minutes; refused for their number: {after['refused']}"
    )
