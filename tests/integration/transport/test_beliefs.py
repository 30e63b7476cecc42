"""What Cloudflare may do otherwise than we believe: each way nothing is lost, or runs twice."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty
from typing import Any

import kombu
import pytest

from cutmv.transports.cloudflare.api import Client, Credentials, habits
from cutmv.transports.cloudflare.errors import QueueMissing
from cutmv.transports.cloudflare.messages import eta
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


@pytest.mark.parametrize("way", ["obeyed", "ignored", "refused", "partial", "blind"])
def test_a_queue_that_another_process_made_a_moment_ago_is_found(
    emulator: EmulatorProcess, way: str
) -> None:
    maker, reader = client(emulator), directory(emulator)
    emulator.believe(name_filter=way)
    reader.verify(soon())
    for name in ("work-dead", "a-work", "work"):
        maker.create_queue(name, soon())
    assert reader.require_pull("work").name == "work"


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


# --- messages


def test_a_delay_that_cloudflare_refuses_is_cut_and_the_message_is_delayed_again(
    emulator: EmulatorProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(habits, "SURE_DELAY", 1)
    emulator.believe(delay_most=1)
    due = datetime.now(UTC) + timedelta(seconds=4)
    with connect(emulator) as connection:
        queue = kombu.Queue("work", kombu.Exchange("work"), "work")(connection.default_channel)
        queue.declare()
        for number in range(2):
            connection.Producer().publish(
                number, exchange="work", routing_key="work", headers={"eta": due.isoformat()}
            )
        first = wait_until(queue.get)
        assert datetime.now(UTC) > due - timedelta(seconds=eta.MAX_HOLD)
        assert {first.payload, wait_until(queue.get).payload} == {0, 1}
        session = connection.transport.session
        session.client.end_leases(session.directory.get("work").queue_id, [], [("l", 300)], soon())
    said = [line.getMessage() for line in caplog.records if "is refused" in line.getMessage()]
    assert len(said) == 1
    assert "delays are of 1 s at most now" in said[0]
    assert emulator.stats()["calls"]["ack"].keys() == {"200"}


@pytest.mark.parametrize(
    "switches",
    [
        {"attempts_base": 0},
        {"attempts_base": 2},
        {"timestamps_text": True, "backlog": "text", "ratelimit": "text"},
        {"backlog": "missing", "warnings": "missing", "ratelimit": "missing"},
        {"backlog": "zero", "warnings": "list", "ratelimit": "garbage"},
        {"backlog": "ready", "late_acks": False, "ratelimit": "several"},
        {"backlog": "stale", "settings_fixed": True},
        {"pull_more": True},
        {"pull_twins": True},
        {"handles": "odd"},
    ],
    ids=str,
)
def test_each_message_comes_once_and_ends(
    emulator: EmulatorProcess, switches: dict[str, Any]
) -> None:
    emulator.believe(**switches)
    came: list[int] = []

    def take(body: int, message: kombu.Message) -> None:
        came.append(body)
        message.ack()

    with connect(emulator) as connection:
        queue = kombu.Queue("work", kombu.Exchange("work"), "work")
        with connection.Consumer([queue], callbacks=[take], prefetch_count=3):
            producer = connection.Producer()
            for number in range(12):
                producer.publish(number, exchange="work", routing_key="work")
            wait_until(lambda: drained(connection) or len(came) >= 12)
            wait_until(lambda: drained(connection) or emulator.stats()["messages"]["work"] == 0)
    assert sorted(came) == list(range(12))


def drained(connection: kombu.Connection) -> None:
    """Have the consumer take what there is."""
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=0.1)


@pytest.mark.parametrize("route", ["batch", "pull", "ack"])
@pytest.mark.parametrize(
    "fault",
    [{"kind": "page", "status": 502}, {"kind": "redirect"}, {"kind": "failed"}],
    ids=lambda fault: fault["kind"],
)
def test_an_answer_that_is_none_loses_nothing(
    emulator: EmulatorProcess, route: str, fault: dict[str, Any]
) -> None:
    with (
        connect(emulator, visibility_timeout=2) as connection,
        connection.SimpleQueue("work") as queue,
    ):
        emulator.faults({"route": route, "count": 2, **fault})
        queue.put("a")
        message = queue.get(timeout=20)
        assert message.payload == "a"
        message.ack()
        wait_until(lambda: emulator.stats()["acked"] >= 1)


@pytest.mark.parametrize("base", [0, 1])
def test_a_message_that_is_held_elsewhere_waits_whatever_its_attempts_count_from(
    emulator: EmulatorProcess, tmp_path: Path, base: int
) -> None:
    emulator.believe(attempts_base=base)
    shared = {"visibility_timeout": 2, "lease_ledger": f"file://{tmp_path}/ledger"}
    with (
        connect(emulator, **shared) as holder,
        connect(emulator, **shared, rate_share=0.5) as other,  # as another process
        holder.SimpleQueue("work") as held,
    ):
        held.put("a")
        held.close()
        message = wait_until(lambda: holder.default_channel.basic_get("work"))
        with other.SimpleQueue("work") as idle:
            while emulator.stats()["deliveries"] < 2:
                with contextlib.suppress(Empty):
                    pytest.fail(f"it came again: {idle.get(timeout=0.2).payload}")
            with pytest.raises(Empty):
                idle.get(timeout=0.5)
        message.ack()
        wait_until(lambda: emulator.stats()["messages"]["work"] == 0)
