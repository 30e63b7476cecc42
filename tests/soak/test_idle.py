"""Workers that have little to do, and who watches them, for minutes."""

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
from tests.support.flower import flower
from tests.support.listening import Listener, listening
from tests.support.transport import make_site, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

#: Cloudflare's bound: calls other than pulls and acks, in five minutes.
CALLS, WINDOW_MIN = 1_200, 5
#: Part of them that few workers with little to do may use, for their tasks too.
SHARE = 0.6
#: Seconds between tasks, and seconds for the events of the last ones to come.
TASK_S, REST_S = 1.0, 60.0


def test_flower_and_a_listener_miss_nothing_of_workers_at_work(
    make_emulator: Callable[..., EmulatorProcess], tmp_path: Path, seconds: float
) -> None:
    """Two workers `-E`, a task a second, Flower, and a listener as anybody writes one."""
    emulator = make_emulator()
    url = f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
    with (
        make_site(emulator, tmp_path) as site,
        Celery("web", broker=url, set_as_current=False) as app,
    ):
        app.conf.broker_transport_options = {"api_base_url": emulator.base_url}
        app.conf.task_default_queue = "work"
        workers = [site.worker("-E", sociable=True) for _ in range(2)]
        for worker in workers:
            site.ready(worker)
        names = {f"w{number}@test" for number in range(2)}
        with listening(app) as listener, flower(site, tmp_path) as get:
            wait_until(lambda: set(listener.state.workers) == names, 60, "both are heard")
            wait_until(lambda: set(get("workers?refresh=1")) == names, 60, "Flower knows both")
            before, begun = emulator.stats(), time.time()
            sent, offline = [], 0
            for number in itertools.count():
                if time.time() - begun > seconds:
                    break
                time.sleep(max(0.0, begun + number * TASK_S - time.time()))
                task = "tests.support.transport_app.record"
                sent.append(app.send_task(task, ["x"]).id)
                if number % 10 == 5:
                    offline += sum(not up for up in get("workers?status=1").values())
            whole = {each: {"received", "started", "succeeded"} for each in sent}
            with_deadline(lambda: listener.told(sent) == whole)
            with_deadline(lambda: states(get) == ["SUCCESS"] * min(len(sent), 10_000))
            shown, told, after = states(get), listener.told(sent), emulator.stats()
            ended = time.time()
        silent = listener.offline
        said = [worker.log() for worker in workers]
    report(listener, before, after, begun, ended)
    for line in sorted({line for log in said for line in log.splitlines() if "heartbeat" in line}):
        print(f"  a worker says: {line}")
    print(f"  {len(sent)} tasks, of which Flower shows {shown.count('SUCCESS')} as done; offline "
          f"in Flower at {offline} looks, for the listener {len(silent)} times")  # fmt: skip
    assert told == whole
    assert shown == ["SUCCESS"] * len(sent)
    assert offline == 0
    assert silent == []
    assert counted(before, after) / (ended - begun) * 300 < SHARE * CALLS
    assert after["refused"] == 0


@pytest.mark.parametrize("gossip", [None, True])
def test_plain_idle_workers_miss_no_heartbeat(
    make_emulator: Callable[..., EmulatorProcess],
    tmp_path: Path,
    seconds: float,
    gossip: bool | None,
) -> None:
    """Three workers without an option: none says that it misses another; with gossip neither."""
    emulator = make_emulator()
    with make_site(emulator, tmp_path) as site:
        workers = [site.worker(sociable=True, gossip=gossip) for _ in range(3)]
        for worker in workers:
            site.ready(worker)
        before, begun = emulator.stats(), time.time()
        time.sleep(seconds)
        after, ended = emulator.stats(), time.time()
        said = [worker.log() for worker in workers]
    print(f"\n  gossip: {gossip}")
    show_calls(before, after, (ended - begun) / 60)
    assert not [line for log in said for line in log.splitlines() if "missed heartbeat" in line]
    assert all("Traceback" not in log for log in said)
    assert counted(before, after) / (ended - begun) * 300 < 0.2 * CALLS


def states(get: Callable[[str], Any]) -> list[str]:
    """Return the states of the tasks that Flower shows."""
    return [task["state"] for task in get("tasks?limit=10000").values()]


def with_deadline(condition: Callable[[], bool]) -> None:
    """Wait until it is true, or for `REST_S`: what is missing is told after the report."""
    end = threading.Event()
    until = time.monotonic() + REST_S
    while not condition() and time.monotonic() < until:
        end.wait(1)


def counted(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Return the calls that count against Cloudflare's limit."""
    return sum(calls_by_route(before, after, free=("pull", "ack")).values())


def calls_by_route(
    before: dict[str, Any], after: dict[str, Any], free: tuple[str, ...] = ()
) -> dict[str, int]:
    """Return the calls of each route."""
    found: defaultdict[str, int] = defaultdict(int)
    for route, answers in sorted(after["calls"].items()):
        if route not in free:
            found[route] = sum(answers.values()) - sum(before["calls"].get(route, {}).values())
    return found


def show_calls(before: dict[str, Any], after: dict[str, Any], minutes: float) -> None:
    """Print what it cost."""
    for route, calls in calls_by_route(before, after).items():
        print(f"  {route}: {calls} calls, {calls / minutes:.0f} a minute")
    share = counted(before, after) / minutes * WINDOW_MIN
    print(f"  counted against the limit: {share:.0f} of {CALLS:,} in {WINDOW_MIN} minutes; "
          f"refused for their number: {after['refused']}")  # fmt: skip


def report(
    listener: Listener, before: dict[str, Any], after: dict[str, Any], begun: float, ended: float
) -> None:
    """Print how often heartbeats came, how late, and what it cost."""
    minutes = (ended - begun) / 60
    print(f"\n{minutes:.1f} minutes, load average at the end {os.getloadavg()[0]:.1f}")
    for name, beats in sorted(listener.beats.items()):
        came = [beat for beat in beats if begun <= beat["local_received"] <= ended]
        times = [beat["local_received"] for beat in came]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)] or [0.0]
        late = sorted(beat["local_received"] - beat["timestamp"] for beat in came) or [0.0]
        print(
            f"  {name}: {len(came)} heartbeats, which promised the next within "
            f"{max(beat['freq'] for beat in came):.1f} s at most; it took {max(pauses):.1f} s at "
            f"most; late by {late[len(late) // 2]:.1f} s (median), {late[-1]:.1f} s (most)"
        )
    show_calls(before, after, minutes)
