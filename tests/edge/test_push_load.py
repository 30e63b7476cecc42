"""Push mode under load: arrivals and slots agree, though up to 250 messages arrive at once.

The local runtime delivers one batch of a queue at a time, so `edge/tests/driver.ts` drives the
Worker's own handler as Cloudflare does.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.transport.test_push import KEYS, PushSite
from tests.support.edge_worker import BIN, EDGE, install, tool_env
from tests.support.emulator import EmulatorProcess
from tests.support.line import Line
from tests.support.processes import free_port, slowness
from tests.support.transport import wait_until

pytestmark = pytest.mark.edge

#: Invocations that Cloudflare runs at once.
CONCURRENCY = 250

UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass
class Drive:
    """What came of the messages that the driver pushed."""

    invocations: int
    acked: int
    dead: int
    seconds: float


class LoadSite(PushSite):
    """A push site, and the driver in Cloudflare's place."""

    def tasks(self, seconds: list[float], task: str = "nap", **options: Any) -> list[str]:
        """The texts of tasks that take so long each."""
        self.send(task, 0, 0.123456, **options)
        (template,) = self.texts(1)
        texts = []
        for place, each in enumerate(seconds):
            text = template.replace("[0, 0.123456]", f"[{place}, {each}]")
            for uuid in {*UUID.findall(text)}:
                text = text.replace(uuid, str(uuid4()))
            document = json.loads(text)
            texts.append(json.dumps({**document, "id": uuid4().hex}))
        return texts

    def begin(
        self,
        texts: list[str],
        ports: list[int] | None = None,
        containers: bool = False,
        **variables: str,
    ) -> subprocess.Popen[str]:
        """Start the driver. The workers stand at addresses, or for `containers`."""
        urls = [f"http://127.0.0.1:{port}" for port in ports or self.ports]
        plan = {
            "queue": "work",
            "texts": texts,
            "concurrency": CONCURRENCY,
            "variables": {"INGRESS_URL": ",".join(urls), "EDGE_KEYS": KEYS, **variables},
            **({"containers": urls} if containers else {}),
        }
        driver = subprocess.Popen(
            [str(BIN / "node"), "--disable-warning=ExperimentalWarning", "tests/driver.ts"],
            cwd=EDGE,
            env=tool_env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.directory / "driver.log").open("w"),
            text=True,
        )
        assert driver.stdin
        driver.stdin.write(json.dumps(plan))
        driver.stdin.close()
        return driver

    def end(self, driver: subprocess.Popen[str], within: float) -> Drive:
        """Wait until all messages are acked or dead."""
        try:
            driver.wait(within)
        except subprocess.TimeoutExpired:
            driver.kill()
            raise
        assert driver.stdout
        return Drive(**json.loads(driver.stdout.read()))


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[LoadSite]:
    install()
    site = LoadSite(emulator, tmp_path)
    yield site
    site.close()


def durations(count: int, least: float, most: float) -> list[float]:
    chosen = random.Random(12)
    return [round(chosen.uniform(least, most), 3) for _ in range(count)]


def span(notes: list[dict[str, Any]]) -> float:
    """Seconds from the first start to the last end."""
    return float(max(note["at"] for note in notes) - min(note["began"] for note in notes))


@pytest.mark.slow
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize(
    ("seconds", "task"),
    [
        pytest.param(durations(40, 0.1, 0.5), "nap", id="some"),
        pytest.param(
            durations(40, 0.1, 0.5), "nap_early", id="acked early", marks=pytest.mark.slow
        ),
        pytest.param([1.5] * 12, "nap_long", id="product's shape", marks=pytest.mark.slow),
    ],
)
def test_a_worker_is_kept_busy_and_each_message_comes_once(
    site: LoadSite, seconds: list[float], task: str
) -> None:
    keeps_busy(site, seconds, task)


def keeps_busy(site: LoadSite, seconds: list[float], task: str) -> None:
    """Push tasks that take so long to a worker: it is busy all the time, and keeps their order."""
    ideal = sum(seconds) / 2
    site.push_worker("-c", "2")
    texts = site.tasks(seconds, task)

    drive = site.end(site.begin(texts), within=ideal * 3 + 30)

    wait_until(lambda: len(site.notes("nap")) >= len(seconds), 20, "the last ones end")
    notes = site.notes("nap")
    places = [note["value"] for note in sorted(notes, key=lambda note: note["began"])]
    out_of_order = max(abs(place - at) for at, place in enumerate(places))
    print(f"{drive}; ideal {ideal:.1f} s, took {span(notes):.1f} s; out of order {out_of_order}")
    assert (drive.acked, drive.dead, len(notes)) == (len(seconds), 0, len(seconds))
    assert drive.invocations <= 1.2 * len(seconds)
    assert span(notes) <= 1.15 * ideal + 0.5
    assert out_of_order <= 8


@pytest.mark.slow
def test_tasks_that_leave_no_time_to_wait_run_all_the_same(site: LoadSite) -> None:
    site.push_worker("-c", "2")
    texts = site.tasks([2.0] * 6, time_limit=869)

    drive = site.end(site.begin(texts), within=60)

    print(drive, f"took {span(site.notes('nap')):.1f} s")
    assert (drive.acked, drive.dead, len(site.notes("nap"))) == (6, 0, 6)
    assert drive.invocations <= 6 * 6


@pytest.mark.slow
def test_messages_of_a_worker_that_was_away_come_when_it_is_back(site: LoadSite) -> None:
    comes_back(site, lambda tries: tries > 100)


def comes_back(site: LoadSite, away_long_enough: Callable[[int], bool], within: float = 30) -> None:
    """Push to a worker that is away until there were enough tries in vain, and see it catch up."""
    worker = site.push_worker("-c", "2")
    texts = site.tasks([0.1] * 20)
    worker.term()
    assert worker.child.wait(30) == 0
    driver = site.begin(texts)
    log = site.directory / "driver.log"
    wait_until(
        lambda: away_long_enough(log.read_text().count("push-server-failed")),
        within,
        "they try in vain",
    )

    port = site.ports[0]
    site.ready(site.worker("-c", "2", env={"CLOUDFLARE_INGRESS_PORT": str(port)}))
    back = time.time()
    drive = site.end(driver, within=60)

    notes = site.notes("nap")
    late = max(note["at"] for note in notes) - back
    print(f"{drive}; the last is done {late:.1f} s after the worker is back")
    assert (drive.invocations, drive.acked, len(notes)) == (20, 20, 20)
    assert late <= 5 + 1 + 4  # a pause, the tasks, and slack


@pytest.mark.slow
def test_messages_are_shared_by_the_workers_that_answer(site: LoadSite) -> None:
    for _ in range(2):
        site.push_worker("-c", "2")
    texts = site.tasks([0.3] * 60)

    drive = site.end(site.begin(texts, ports=[site.ports[0], free_port(), site.ports[1]]), 60)

    notes = site.notes("nap")
    print(drive, f"ideal 4.5 s, took {span(notes):.1f} s")
    assert (drive.invocations, drive.acked, len(notes)) == (60, 60, 60)
    assert span(notes) <= 1.4 * 4.5 + 1


@pytest.mark.slow
def test_a_proxy_that_ends_long_answers_costs_no_delivery(site: LoadSite) -> None:
    site.push_worker("-c", "2")
    texts = site.tasks([1.5] * 8)
    line = Line(site.ports[0])

    driver = site.begin(texts, ports=[line.port])
    cuts = 0
    while driver.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(2.5)
        cuts += line.cut()
    drive = site.end(driver, within=1)

    line.close()
    notes = site.notes("nap")
    print(drive, f"{cuts} connections cut; ideal 6.0 s, took {span(notes):.1f} s")
    assert cuts >= 10
    assert (drive.invocations, drive.acked, len(notes)) == (8, 8, 8)
    assert span(notes) <= 10


@pytest.mark.slow
def test_no_task_starts_that_could_not_end_in_the_worker_s_time(site: LoadSite) -> None:
    site.push_worker("-c", "2")
    texts = site.tasks([2.0] * 8, time_limit=3)

    drive = site.end(site.begin(texts, PUSH_WALL_S="8"), within=100)

    notes = site.notes("nap")
    print(drive, f"ideal 8.0 s, took {span(notes):.1f} s")
    # The last two would have 2 s left when they could start: they come again first.
    assert 8 < drive.invocations <= 8 * 3
    assert (drive.acked, len(notes)) == (8, 8)
    assert span(notes) <= 16


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("containers", "slots", "seconds"),
    [
        pytest.param(1, 1, 0.08, id="1 slot"),
        pytest.param(2, 2, 0.25, id="4 slots"),
        pytest.param(4, 4, 0.9, id="16 slots"),
    ],
)
def test_containers_are_kept_busy_by_hundreds_of_messages(
    site: LoadSite, containers: int, slots: int, seconds: float
) -> None:
    for _ in range(containers):
        site.push_worker("-c", str(slots))
    texts = site.tasks([seconds] * 500)
    ideal = 500 * seconds / (containers * slots)

    drive = site.end(site.begin(texts, containers=True), within=ideal * 3 + 60)

    wait_until(lambda: len(site.notes("nap")) >= 500, 20, "the last ones end")
    took = span(site.notes("nap"))
    print(f"{drive}; ideal {ideal:.1f} s, took {took:.1f} s ({took / ideal:.2f})")
    assert (drive.acked, drive.dead, len(site.notes("nap"))) == (500, 0, 500)
    assert drive.invocations <= 550
    # Each task costs some milliseconds of a processor, which others use here, too.
    assert took <= ideal * (1 + 0.15 * slowness()) + 0.5
