"""An app of mixed tasks whose workers are killed and restarted at random for minutes."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from tests.support.emulator import EmulatorProcess
from tests.support.transport import CloudflareSite, WorkerProcess, make_site, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

#: Seconds between two tasks, and between two things that happen to a worker.
TASK_S, HARM_S = (0.2, 0.8), (8.0, 20.0)
#: Seconds of a lease.
LEASE_S = 10.0
#: Seconds in which an ack is surely with the broker, on a busy machine; `ack_linger` is 0.1.
ACK_S = 2.0
#: Seconds in which all that was sent has run: two leases for what the last killed worker held.
REST_S = 120.0


@dataclass(frozen=True)
class Sent:
    """A task: what it is, when it may start, and how often it fails before it ends."""

    kind: str
    due: float = 0.0
    failures: int = 0


def options(ledger: Path) -> dict[str, Any]:
    """What such an app sets: leases that follow the work, and two priority levels."""
    return {
        "visibility_timeout": LEASE_S,
        "lease_ledger": ledger.as_uri(),
        "priority_steps": [0, 5],
    }


def send(app: Celery, dice: random.Random) -> tuple[str, Sent]:
    """Send a task of some kind; returns its id."""
    kind = dice.choice(["early", "late", "eta", "late eta", "retry", "priority"])
    task, args, how = kind.split()[0], [dice.uniform(0, 0.5)], {}
    sent = Sent(kind)
    if kind.endswith("eta"):
        countdown = dice.uniform(1, 15)
        task, how = "late" if kind == "late eta" else "early", {"countdown": countdown}
        sent = Sent(kind, due=time.time() + countdown)
    elif kind == "retry":
        sent = Sent(kind, failures=dice.randint(1, 3))
        args.append(sent.failures)
    elif kind == "priority":
        task, how = "late", {"priority": 5}
    return app.send_task(f"tests.soak.shop.{task}", args, **how).id, sent


def test_a_strangers_app_whose_workers_are_killed_loses_nothing(
    make_emulator: Callable[..., EmulatorProcess],
    tmp_path: Path,
    seconds: float,
    dice: random.Random,
) -> None:
    emulator = make_emulator()
    transport_options = options(tmp_path / "ledger")
    with make_site(emulator, tmp_path) as site:
        site.app = "tests.soak.shop"
        workers = [site.ready(site.worker(**transport_options)) for _ in range(2)]
        url = f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
        with Celery("web", broker=url, set_as_current=False) as app:
            app.conf.task_default_queue = "work"
            app.conf.broker_transport_options = {
                **transport_options,
                "api_base_url": emulator.base_url,
            }
            sent, killed = live(
                site, app, workers, dice, time.monotonic() + seconds, transport_options
            )
        wait_until(lambda: not sum(site.backlog().values()), REST_S, "all is done")
        report(site, sent, killed)
        stats = emulator.stats()
        assert stats["leases_outstanding"] == 0
        assert not any(name.endswith("-dead") and n for name, n in stats["messages"].items())


def live(
    site: CloudflareSite,
    app: Celery,
    workers: list[WorkerProcess],
    dice: random.Random,
    end: float,
    transport_options: dict[str, Any],
) -> tuple[dict[str, Sent], dict[int, float]]:
    """Send tasks and end workers until the end; returns both, the workers with their hour."""
    sent: dict[str, Sent] = {}
    killed: dict[int, float] = {}
    refused = stopped = 0
    harm_at = time.monotonic() + dice.uniform(*HARM_S)
    while time.monotonic() < end:
        try:
            task_id, task = send(app, dice)
            sent[task_id] = task
        except OperationalError:
            refused += 1
        if time.monotonic() > harm_at:
            worker = workers.pop(dice.randrange(len(workers)))
            if dice.random() < 0.7:
                worker.kill()
                killed[worker.child.pid] = time.time()
            else:
                worker.term()
                stopped += 1
            workers.append(site.worker(**transport_options))
            harm_at = time.monotonic() + dice.uniform(*HARM_S)
        time.sleep(dice.uniform(*TASK_S))
    print(f"sent {len(sent)} tasks; {refused} refused; killed {len(killed)} workers, "
          f"stopped {stopped} as one should")  # fmt: skip
    return sent, killed


def report(site: CloudflareSite, sent: dict[str, Sent], killed: dict[int, float]) -> None:
    """Show what ran, and fail for what did not, or ran too often."""
    starts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for note in site.notes("started"):
        starts[note["id"]].append(note)
    ended = {note["id"] for note in site.notes("ended")}
    again: Counter[str] = Counter()
    wrong: list[str] = []
    for task_id, task in sent.items():
        ran = sorted(starts[task_id], key=lambda note: float(note["at"]))
        acked_late = task.kind not in ("early", "eta")
        if not ran or (acked_late and task_id not in ended):
            wrong.append(f"{task.kind} {task_id} is lost: {ran}")
        if ran and ran[0]["at"] < task.due:
            wrong.append(f"{task.kind} {task_id} started early: {task.due} {ran}")
        for number in range(task.failures + 1):
            tries = [note for note in ran if note["try"] == number]
            for one, other in itertools.pairwise(tries):
                again[task.kind] += 1
                died = killed.get(one["worker"])
                if died is None or not one["at"] <= died <= other["at"]:
                    wrong.append(f"{task.kind} {task_id} ran again though nobody died: {tries}")
                elif not acked_late and died - one["at"] > ACK_S:
                    wrong.append(f"{task.kind} {task_id} was acked, and ran again: {tries}")
    of = Counter(task.kind for task in sent.values())
    for kind, count in sorted(of.items()):
        print(f"  {kind}: {count} sent, {again[kind]} runs again after a worker's death")
    stats = site.emulator.stats()
    print(f"  calls: { {route: sum(n.values()) for route, n in stats['calls'].items()} }; "
          f"refused for their number: {stats['refused']}")  # fmt: skip
    assert not wrong, "\n".join(wrong)
