"""What Cloudflare may do otherwise than we believe: each way nothing is lost, or runs twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.errors import QueueMissing
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import QueueDirectory
from tests.support.emulator import EmulatorProcess
from tests.support.transport import connect, make_site, wait_until


def client(emulator: EmulatorProcess) -> Client:
    """A client of its own, as another process has."""
    options = Options(api_base_url=emulator.base_url)
    return Client(Credentials(emulator.account_id, emulator.api_token), options)


def directory(emulator: EmulatorProcess, **options: Any) -> QueueDirectory:
    """A directory of its own, as another process has."""
    return QueueDirectory(client(emulator), Options(api_base_url=emulator.base_url, **options))


def soon() -> float:
    """A deadline that no call misses."""
    return time.monotonic() + 20


def calls(emulator: EmulatorProcess, route: str) -> int:
    """How often a route was called."""
    return sum(emulator.stats()["calls"].get(route, {}).values())


# --- the list of queues


@pytest.mark.parametrize(
    "switches",
    [
        {"page_size": 3},
        {"page_size": 3, "total_pages": "missing"},
        {"page_size": 3, "total_pages": "one"},
        {"page_size": 3, "total_pages": "endless"},
        {"page_size": 3, "name_filter": "ignored"},
        {"page_size": 3, "name_filter": "refused", "total_pages": "missing"},
        {"handles": "odd"},
    ],
    ids=str,
)
def test_every_queue_is_found_whatever_the_pages(
    emulator: EmulatorProcess, switches: dict[str, Any]
) -> None:
    names = [f"queue-{number}" for number in range(7)]
    maker, reader = client(emulator), directory(emulator)
    for name in names:
        maker.create_queue(name, soon())
    emulator.believe(**switches)
    reader.verify(soon())
    assert sorted(queue.name for queue in reader.all) == names
    maker.create_queue("another", soon())
    with connect(emulator) as connection, connection.SimpleQueue("another") as queue:
        queue.put("found")
        message = queue.get(timeout=20)
        assert message.payload == "found"
        message.ack()
    assert emulator.stats()["messages"]["another"] == 0


def test_one_missing_queue_costs_one_call_however_many_there_are(
    emulator: EmulatorProcess,
) -> None:
    maker, reader = client(emulator), directory(emulator)
    emulator.believe(page_size=2)
    for number in range(9):
        maker.create_queue(f"queue-{number}", soon())
    reader.verify(soon())
    listed = calls(emulator, "list")
    assert listed == 5
    maker.create_queue("another", soon())
    reader.forget("another")  # the list is not believed any more
    assert reader.get("another", soon()).name == "another"
    with pytest.raises(QueueMissing):
        reader.forget("none")
        reader.get("none", soon())
    assert reader.find("none", soon()) is None  # it was asked for a moment ago
    assert calls(emulator, "list") == listed + 2


# --- consumers


@pytest.mark.parametrize("several", [False, True], ids=["one only", "several"])
def test_workers_that_start_together_leave_a_queue_with_one_consumer(
    emulator: EmulatorProcess, several: bool
) -> None:
    emulator.believe(several_consumers=several)
    directories = [directory(emulator) for _ in range(4)]
    for each in directories:
        each.verify(soon())
    met = threading.Barrier(len(directories))
    failed: list[BaseException] = []

    def start(each: QueueDirectory) -> None:
        try:
            met.wait()
            assert each.require_pull("work").max_retries == 100
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=start, args=(each,)) for each in directories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    reader = client(emulator)
    found = {each["queue_name"]: each for each in reader.list_queues(soon())}
    assert len(found["work"]["consumers"]) == 1
    assert calls(emulator, "create_consumer") <= len(directories)


def test_a_process_removes_the_consumer_it_made_if_another_was_first(
    emulator: EmulatorProcess,
) -> None:
    emulator.believe(several_consumers=True)
    reader = client(emulator)
    work = reader.create_queue("work", soon())["queue_id"]
    late, first = directory(emulator), directory(emulator)
    late.verify(soon())
    first.require_pull("work")
    [kept] = reader.list_consumers(work, soon())
    assert late.require_pull("work").consumer == "http_pull"  # it has not seen the other's
    assert reader.list_consumers(work, soon()) == [kept]
    assert calls(emulator, "create_consumer") == 2


def test_a_queue_with_a_worker_ends_the_celery_worker_in_a_line_that_names_it(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    maker = client(emulator)
    work = maker.create_queue("work", soon())["queue_id"]
    maker.create_consumer(work, {"type": "worker", "script_name": "my-edge"}, soon())
    with make_site(emulator, tmp_path) as site:
        worker = site.worker()
        wait_until(lambda: worker.child.poll() is not None, 40, "the worker's end")
        assert worker.child.poll() == 1
        lines = [line for line in worker.log().splitlines() if "my-edge" in line]
    assert len(lines) == 1
    assert "CRITICAL" in lines[0]
    for advice in (
        "consume",
        "pulled_queues",
        "wrangler queues consumer worker remove work my-edge",
    ):
        assert advice in lines[0]
    assert "Traceback" not in worker.log()
    assert calls(emulator, "create_consumer") <= 3  # this test's, and those of remote control
    assert calls(emulator, "pull") == 0
