"""The fault matrix: each REST call that the transport makes, each way in which it may fail.

A cell runs two thousand tasks on two workers while the fault is in force: what is lost by chance
is found by many. Where only the first calls meet it, two hundred go beside what makes the call: a
newcomer to the account, a queue that is counted, purged, deleted. What its caller is told has
failed, the caller tries again, as a user would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import kombu
import kombu.pools
import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.processes import clean_env
from tests.support.queues import ids_in, run, send
from tests.support.transport import (
    CloudflareSite,
    connect,
    make_site,
    noise,
    transport_threads,
    wait_until,
)

pytestmark = pytest.mark.slow

#: Tasks of a cell whose fault meets calls by chance and by number, the threads that publish them,
#: and how many of them share a block.
TASKS, FEW_TASKS, THREADS, BLOCK = 2000, 200, 4, 50

#: Seconds in which all of a cell's tasks have run, and the task after the fault.
CELL_S, LAST_S = 60, 10

#: Made for each message or batch of them: met by chance. All others are few: the first are hit.
BUSY = ("batch", "pull", "ack")
RARE = (
    "list", "create", "edit", "create_consumer", "list_consumers", "metrics", "purge", "delete",
)  # fmt: skip

#: Sites whose workers share a ledger and keep large messages elsewhere, by the route that fails.
STORED = {f"{route} with stores": route for route in BUSY}

#: Each so many messages of such a site one that does not fit a queue.
LARGE_EVERY, LARGE = 100, 150_000

#: A fault on a busy route. What hangs costs a second each time, so it does a few times only.
KINDS: dict[str, dict[str, Any]] = {
    "429": {"probability": 0.2, "retry_after": 1},
    "500": {"probability": 0.2},
    "hang": {"probability": 0.2, "count": 3},
    "hang_after": {"probability": 0.2, "count": 3},
    "drop_before": {"probability": 0.2},
    "drop_after": {"probability": 0.2},
    "latency": {"probability": 0.5, "latency_ms": 200},
    "garbage": {"probability": 0.2},
    "misshapen": {"probability": 0.2},
}

#: Faults that outlast the patience of a publish.
LONG_FAULTS = ("429", "hang", "hang_after")

#: Answers that are none, to calls that were carried out.
GARBLED = ("garbage", "misshapen")

#: Calls of a rare route that meet the fault.
HITS = 2

#: A second's patience with the API, less for a publish, so that some fail; leases that end soon;
#: and no budget of calls, which would stretch the matrix over an hour.
OPTIONS: dict[str, Any] = {
    "request_timeout": 1.0,
    "publish_timeout": 0.9,
    "visibility_timeout": 3,
    "polling_interval_max": 0.3,
    "rate_limit": 0,
}


def rules(route: str, kind: str) -> list[dict[str, Any]]:
    """What goes wrong in a cell; the first rule is the cell's own."""
    often = KINDS[kind] if route in BUSY else {**KINDS[kind], "probability": 1, "count": HITS}
    made = [{"route": route, "kind": kind, "seed": 1, **often}]
    if route == "list_consumers":  # asked for once a consumer is there that was not made here
        made.append({"route": "create_consumer", "kind": "drop_after"})
    return made


def persist(call: Callable[[], Any], seconds: float = CELL_S) -> int:
    """Call until the broker takes it, as a user would; return how often it was told to fail."""
    end, failures = time.monotonic() + seconds, 0
    while True:
        try:
            call()
        except OperationalError:
            assert time.monotonic() < end, f"not within {seconds} s: {call}"
            failures += 1
        else:
            return failures


#: What a call's failure is to the stores beside it: told or not told, of what was done or not.
STORED_KINDS = ("429", "500", "hang_after", "drop_after", "garbage")

#: Each column with its kinds. A call that is late by 0.2 s goes well; there are few of the rare.
CELLS = [
    *((column, kind) for column in BUSY for kind in KINDS),
    *((column, kind) for column in RARE for kind in KINDS if kind != "latency"),
    *((column, kind) for column in STORED for kind in STORED_KINDS),
]


@pytest.fixture(scope="module")
def column(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def route(column: str) -> str:
    return STORED.get(column, column)


@pytest.fixture(scope="module")
def stores(column: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Options of the ledger and the store, where the site has them."""
    if column not in STORED:
        return {}
    directory = tmp_path_factory.mktemp("stores")
    return {
        "lease_ledger": (directory / "ledger").as_uri(),
        "large_messages": (directory / "large").as_uri(),
    }


@pytest.fixture(scope="module")
def site(
    column: str, stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudflareSite]:
    """A site whose two workers live through all faults of a route, and then end as they should."""
    directory = tmp_path_factory.mktemp(column.replace(" ", "-"))
    emulator = EmulatorProcess(directory / "emulator.sqlite3", rate_limit=False)
    emulator.start()
    try:
        with make_site(emulator, directory) as site:
            workers = [
                site.worker("-P", "solo", env={"TRANSPORT_PREFETCH": "100"}, **OPTIONS, **stores)
                for _ in range(2)
            ]
            for worker in workers:
                site.ready(worker)
            yield site
            for worker in workers:
                worker.term()
            assert [worker.child.wait(20) for worker in workers] == [0, 0]
            assert emulator.stats()["leases_outstanding"] == 0
            assert not any("Traceback" in worker.log() for worker in workers)
    finally:
        emulator.kill()


def publish(site: CloudflareSite, values: list[str], stores: dict[str, str]) -> int:
    """Send a task for each value, from threads, in blocks that are sent again if they failed.

    Returns how many did.
    """
    url = f"cloudflare://:{site.emulator.api_token}@{site.emulator.account_id}"
    app = Celery("publisher", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {
        "api_base_url": site.emulator.base_url,
        **OPTIONS,
        **stores,
    }
    app.conf.task_default_queue = "work"

    def send(block: list[str]) -> None:
        with app.producer_pool.acquire(block=True) as producer, producer.batch(max_size=BLOCK):
            for value in block:
                app.send_task("tests.support.transport_app.record", [value], producer=producer)

    blocks = [values[start : start + BLOCK] for start in range(0, len(values), BLOCK)]
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(lambda block: persist(lambda: send(block)), blocks))
    finally:
        app.close()
        kombu.pools.reset()  # which closes what the app has opened


def kept(stores: dict[str, str]) -> set[Path]:
    """The large messages' objects that are there."""
    if not stores:
        return set()
    directory = Path(stores["large_messages"].removeprefix("file://")) / "large-messages"
    return set(directory.glob("[0-9a-f]*"))


def come_and_go(site: CloudflareSite) -> None:
    """Be new to the account, and make every call that is not about messages."""
    name = f"new-{uuid4().hex[:8]}"
    queue = kombu.Queue(name, kombu.Exchange(name), routing_key=name)
    mine = kombu.Queue(f"{name}.mine", kombu.Exchange("news", "fanout"), auto_delete=True)
    taken: list[Any] = []

    def take(body: Any, message: kombu.Message) -> None:
        taken.append(body)
        message.ack()

    def consume(connection: kombu.Connection) -> None:
        with kombu.Consumer(connection, [queue, mine], callbacks=[take]):
            end = time.monotonic() + CELL_S
            while "x" not in taken:
                assert time.monotonic() < end, "the newcomer's message did not come"
                try:
                    connection.drain_events(timeout=1)
                except TimeoutError:
                    continue

    with connect(site.emulator, **OPTIONS, ack_linger=0) as connection:
        connection.ensure_connection(interval_start=0.1, interval_step=0.1, max_retries=50)
        producer = connection.Producer()
        persist(lambda: producer.publish("x", exchange=name, routing_key=name, declare=[queue]))
        persist(lambda: consume(connection))
        channel = connection.channel()
        persist(lambda: channel.queue_declare(name, passive=True))
        persist(lambda: channel.queue_purge(name))
        persist(lambda: channel.queue_delete(name))
        assert channel.connection.session.directory.find(name) is None


@pytest.mark.parametrize(("column", "kind"), CELLS, indirect=["column"])
def test_every_task_runs_and_the_workers_go_on(
    site: CloudflareSite, route: str, kind: str, stores: dict[str, str]
) -> None:
    count, threads = TASKS if route in BUSY else FEW_TASKS, transport_threads()
    values = [f"{kind} {number}" for number in range(count)]
    before = kept(stores)
    if stores:
        values = [v + noise(LARGE) if n % LARGE_EVERY == 0 else v for n, v in enumerate(values)]
    site.emulator.faults(*rules(route, kind))

    with ThreadPoolExecutor(1) as pool:
        newcomer = pool.submit(come_and_go, site) if route in RARE else None
        failed = publish(site, values, stores)
        if newcomer:
            newcomer.result()
    wait_until(lambda: site.backlog()["work"] == 0, CELL_S, "all are acked")
    fired = site.emulator.faults_in_force()[0]["fired"]
    site.emulator.clear_faults()

    def ran() -> list[str]:
        return [note["value"] for note in site.notes("record")]

    # The last may be acked a moment before it has noted that it ran.
    wait_until(lambda: set(values) <= set(ran()), 10, "every task has run")
    assert fired, "the fault met no call"
    assert failed or (route, kind) not in [("batch", kind) for kind in LONG_FAULTS]
    publish(site, [f"last {kind}"], stores)
    wait_until(
        lambda: any(note["value"] == f"last {kind}" for note in site.notes("record")),
        LAST_S,
        "the workers go on",
    )
    wait_until(lambda: transport_threads() == threads, 15, "the publisher's threads have ended")
    # Of what a lost answer makes an orphan, the store's rule for its age takes care.
    if stores and route != "batch" and kind in ("429", "500"):
        wait_until(lambda: kept(stores) <= before, 20, "no object is left of this cell")
    print(
        f"{route} {kind}: met {fired} calls; {failed} blocks sent again; {len(ran())} runs so far"
    )


@pytest.mark.parametrize("route", ["list", "create", "edit", "create_consumer", "delete"])
def test_a_worker_starts_and_ends_while_a_call_fails(
    make_emulator: Callable[..., EmulatorProcess], tmp_path: Path, route: str
) -> None:
    """Three times, each in another way; Celery waits 2, 4 and 6 seconds between connections."""
    emulator = make_emulator(rate_limit=False)
    kinds = ("500", "drop_after", "garbage")
    with make_site(emulator, tmp_path) as site:
        emulator.faults(*({"route": route, "kind": kind, "count": 1} for kind in kinds))
        worker = site.ready(site.worker(sociable=True, **OPTIONS))
        site.send("record", "x")
        wait_until(lambda: site.notes("record"), 30, "a task ran")
        worker.term()
        assert worker.child.wait(30) == 0
        assert any(rule["fired"] for rule in emulator.faults_in_force())
        assert "Traceback" not in worker.log()


#: `cutmv`, whose patience with a call is three seconds, not thirty.
IMPATIENT = """
from cutmv.transports.cloudflare.admin import inspect
inspect.CALL_TIMEOUT = 3.0
from cutmv.cli import main
main()
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", ["peek", "purge_refs"])
def test_looking_and_removing_end_well_or_say_why_and_lose_nothing(
    make_emulator: Callable[..., EmulatorProcess], route: str, kind: str
) -> None:
    emulator = make_emulator(rate_limit=False)
    send(emulator, "kept", "removed")
    # Once: it is tried again. For good: it ends, with one line.
    rule = {**KINDS[kind], "route": route, "kind": kind, "probability": 1}
    emulator.faults({**rule, "count": 1})
    once = run(emulator, "purge", "work", "--task-id", "removed", "--yes")
    assert emulator.faults_in_force()[0]["fired"] == 1
    # What the answer got lost of was done all the same, and is not found by the second attempt.
    committed = route == "purge_refs" and kind in ("hang_after", "drop_after", *GARBLED)
    assert once.returncode == 0 or (committed and "not found" in once.stderr), once.stderr
    emulator.clear_faults()
    assert ids_in(emulator, "work") == ["kept"]

    emulator.faults({**rule, "count": None})
    argv = ["queues", "purge", "work", "--task-id", "kept", "--yes"]
    for_good = run_python("-c", IMPATIENT, *argv, env=clean_env(**emulator.env()))
    emulator.clear_faults()
    if kind == "latency":
        assert for_good.returncode == 0
        return
    assert for_good.returncode != 0
    assert len(for_good.stderr.strip().splitlines()) == 1, for_good.stderr
    assert ids_in(emulator, "work") == ([] if committed else ["kept"])
