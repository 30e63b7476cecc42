"""What Prometheus is told by a real server, with real workers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.monitoring import Scrape, metrics_named
from tests.support.processes import wait_for
from tests.support.stack import Stack, make_stack

__all__ = ["make_stack"]

QUEUE = "cutmv-processing"
#: A program that publishes two messages, takes both, and tells what it counted.
PUBLISH_AND_TAKE = """
import json
from cutmv.app import app
from cutmv.transports.cloudflare import operations_report
from cutmv.worker import cut

cut.delay("one")
cut.delay("x" * 70_000)
with app.connection_for_read() as connection:
    queue = connection.SimpleQueue("cutmv-processing")
    for _ in range(2):
        queue.get(timeout=30).ack()
    queue.close()
print(json.dumps(operations_report()))
"""


def told(stack: Stack, *key: str) -> Scrape:
    """A scrape that has a sample."""

    def found() -> Scrape | None:
        scrape = Scrape(stack.url)
        return scrape if scrape[key] is not None else None

    return wait_for(found, 90.0, f"{key} is told\n{stack.logs}")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cloudflare", "redis"])
def test_an_alert_finds_all_that_it_names(mode: str, make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack(mode)
    stack.start_worker()
    run_python("-c", "from cutmv.worker import cut; cut.delay('none')", env=stack.env, check=True)
    stack.start_web()

    scrape = told(stack, "cutmv_workers", "idle")

    assert scrape["cutmv_workers", "idle"] == 1
    assert scrape["cutmv_worker_slots", "idle"] == 2
    assert scrape["cutmv_unwell_workers"] == 0
    assert scrape["cutmv_queue_messages", QUEUE] == 0
    assert scrape["cutmv_queue_oldest_message_seconds", QUEUE] == 0
    for kind in ("uploads", "derivatives", "outputs"):
        assert scrape["cutmv_stored_bytes", kind] == 0
    folder = str(stack.folder / "data")
    free, size = scrape["cutmv_disk_free_bytes", folder], scrape["cutmv_disk_size_bytes", folder]
    assert free and size and 0 < free < size
    swept = told(stack, "cutmv_janitor_last_sweep_timestamp_seconds")
    ago_s = time.time() - (swept["cutmv_janitor_last_sweep_timestamp_seconds"] or 0)
    assert 0 <= ago_s < 300
    if mode == "cloudflare":
        assert scrape["cutmv_queue_paused", QUEUE] == 0
        assert scrape["cutmv_dead_letters", f"{QUEUE}-dead"] == 0
        missing = metrics_named() - told(stack, "cutmv_cloudflare_dollars_a_month").names
        assert missing == set()


def test_the_oldest_message_of_a_queue_is_as_old_as_its_publish(
    make_stack: Callable[[str], Stack],
) -> None:
    stack = make_stack("redis")
    run_python("-c", "from cutmv.worker import cut; cut.delay('none')", env=stack.env, check=True)
    published = time.time()
    stack.start_web()

    age_s = told(stack, "cutmv_queue_oldest_message_seconds", QUEUE)[
        "cutmv_queue_oldest_message_seconds", QUEUE
    ]

    assert age_s is not None
    assert 0 < age_s < time.time() - published + 10


@pytest.mark.slow
def test_a_scrape_does_not_wait_for_a_broker_that_hangs(
    make_stack: Callable[[str], Stack], emulator: EmulatorProcess
) -> None:
    stack = make_stack("cloudflare")
    stack.start_web()
    told(stack, "cutmv_queue_messages", QUEUE)
    emulator.faults({"route": "*", "kind": "hang"})
    waits = []
    for _ in range(3):
        began = time.monotonic()
        assert httpx.get(f"{stack.url}/metrics", timeout=30.0).status_code == 200
        waits.append(time.monotonic() - began)

    assert max(waits) < 10, waits
    emulator.clear_faults()


def test_a_server_without_a_broker_tells_of_none(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("eager")
    stack.start_web()

    scrape = told(stack, "cutmv_steps", "queued")

    assert "cutmv_workers" not in scrape.names
    assert not [key for key in scrape.samples if key[0] == "cutmv_queue_messages"]
    assert scrape["cutmv_fallback"] == 0


def test_what_is_counted_as_billed_is_what_cloudflare_bills(
    make_stack: Callable[[str], Stack], emulator: EmulatorProcess
) -> None:
    stack = make_stack("cloudflare")
    # Not forked by a process whose other children count for the same report.
    argv = [sys.executable, "-c", PUBLISH_AND_TAKE]
    done = subprocess.run(argv, env=stack.env, stdout=subprocess.PIPE, check=True, timeout=60)
    counted = json.loads(done.stdout)

    billed = emulator.stats()["billed"]
    assert counted["writes"] == billed["writes"] == 3  # of which one is of two operations
    assert counted["reads"] == billed["reads"] >= 3
    # Nobody has the size of what is acked.
    assert (counted["deletes"], billed["deletes"]) == (2, 3)
