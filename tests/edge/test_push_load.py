"""Push mode under load: arrivals and slots agree, though up to 250 messages arrive at once.

The local runtime delivers one batch of a queue at a time, so `edge/tests/driver.ts` drives the
Worker's own handler as Cloudflare does.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.transport.test_push import KEYS, PushSite
from tests.support.edge_worker import BIN, EDGE, install, tool_env
from tests.support.emulator import EmulatorProcess

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

    def tasks(self, seconds: list[float], **options: Any) -> list[str]:
        """The texts of tasks that take so long each."""
        self.send("nap", 0, 0.123456, **options)
        (template,) = self.texts(1)
        texts = []
        for place, each in enumerate(seconds):
            text = template.replace("[0, 0.123456]", f"[{place}, {each}]")
            for uuid in {*UUID.findall(text)}:
                text = text.replace(uuid, str(uuid4()))
            document = json.loads(text)
            texts.append(json.dumps({**document, "id": uuid4().hex}))
        return texts

    def begin(self, texts: list[str], **variables: str) -> subprocess.Popen[str]:
        """Start the driver."""
        urls = ",".join(f"http://127.0.0.1:{port}" for port in self.ports)
        plan = {
            "queue": "work",
            "texts": texts,
            "concurrency": CONCURRENCY,
            "variables": {"INGRESS_URL": urls, "EDGE_KEYS": KEYS, **variables},
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


@pytest.mark.timeout(1_500)
@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(durations(40, 0.1, 0.5), id="some"),
        pytest.param(durations(500, 0.03, 0.5), id="many", marks=pytest.mark.slow),
        pytest.param(durations(500, 0.1, 3.0), id="the issue's", marks=pytest.mark.soak),
    ],
)
def test_a_worker_is_kept_busy_and_each_message_comes_once(
    site: LoadSite, seconds: list[float]
) -> None:
    ideal = sum(seconds) / 2
    site.push_worker("-c", "2")
    texts = site.tasks(seconds)

    drive = site.end(site.begin(texts), within=ideal * 3 + 30)

    notes = site.notes("nap")
    took = notes[-1]["at"] - min(note["at"] - note["seconds"] for note in notes)
    places = [note["value"] for note in sorted(notes, key=lambda note: note["began"])]
    out_of_order = max(abs(place - at) for at, place in enumerate(places))
    print(f"{drive}; ideal {ideal:.1f} s, took {took:.1f} s; out of order by {out_of_order}")
    assert (drive.acked, drive.dead, len(notes)) == (len(seconds), 0, len(seconds))
    assert drive.invocations <= 1.2 * len(seconds)
    assert took <= 1.15 * ideal + 0.5
    assert out_of_order <= 8
