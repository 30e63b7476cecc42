"""Messages that other programs put into a queue, as tasks of a plain Celery app."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.queues import ask, client, queue_id
from tests.support.transport import CloudflareSite, WorkerProcess, make_site, wait_until

TASK = "tests.support.transport_app.on_event"
#: What R2 puts into a queue.
EVENT = {
    "account": "acc",
    "action": "PutObject",
    "bucket": "films",
    "object": {
        "key": "incoming/café.mp4",
        "size": 65536,
        "eTag": "e1",
    },
    "eventTime": "2026-05-24T19:36:44.379Z",
}


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


def _worker(site: CloudflareSite, **options: Any) -> WorkerProcess:
    told = {"foreign_messages": {"events": TASK}, **options}
    return site.ready(site.worker("-Q", "events", **told))


def _put(site: CloudflareSite, *bodies: Any, queue: str = "events") -> None:
    messages = [
        {"body": body, "content_type": "text" if isinstance(body, str) else "json"}
        for body in bodies
    ]
    client(site.emulator).put(queue_id(site.emulator, queue), messages, 1e12)


def test_each_document_is_a_task_beside_celery_s_own(site: CloudflareSite) -> None:
    _worker(site)
    own = json.dumps([["Celery's own"], {}, {}])
    like_kombu = {
        "body": own,
        "headers": {"task": TASK, "id": "own"},
        "properties": {},
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }

    _put(site, EVENT, "plain text", like_kombu)
    site.send("on_event", "sent", queue="events")

    notes = wait_until(lambda: (n := site.notes("event")) and len(n) == 4 and n, what="four ran")
    values = [note["value"] for note in notes]
    assert all(each in values for each in (EVENT, "plain text", "Celery's own", "sent"))
    wait_until(lambda: site.held() == 0, what="all are acked")


def test_a_document_s_task_is_retried_as_any_under_one_id(site: CloudflareSite) -> None:
    _worker(site, queue_name_prefix="shop-")

    _put(site, {"failures": 2}, queue="shop-events")

    wait_until(lambda: site.notes("event-ended"), what="it ended")
    notes = site.notes("event")
    assert [note["retries"] for note in notes] == [0, 1, 2]
    assert len({note["id"] for note in notes}) == 1


@pytest.mark.slow
def test_what_a_killed_worker_held_comes_again_under_its_id(
    site: CloudflareSite, tmp_path: Path
) -> None:
    options = {"visibility_timeout": 2, "lease_ledger": f"file://{tmp_path}/ledger"}
    first = _worker(site, **options)
    _put(site, {"until": str(tmp_path / "go on")})
    [started] = wait_until(lambda: site.notes("event"), what="it runs")

    first.kill()
    (tmp_path / "go on").touch()
    _worker(site, **options)

    [ended] = wait_until(lambda: site.notes("event-ended"), 40, "it ran elsewhere")
    assert ended["id"] == started["id"]
    wait_until(lambda: site.held() == 0, what="it is acked")


def test_a_rejected_document_is_a_dead_letter_that_can_be_replayed(site: CloudflareSite) -> None:
    _worker(site)
    _put(site, {"reject": True})
    wait_until(lambda: site.backlog() == {"events": 0, "events-dead": 1}, what="it is dead")

    assert ask(site.emulator, "replay", "events")["moved"] == 1

    wait_until(lambda: len(site.notes("event")) == 2, what="it ran again")
    assert len({note["id"] for note in site.notes("event")}) == 1


@pytest.mark.slow
def test_without_the_option_a_document_is_a_dead_letter(site: CloudflareSite) -> None:
    _worker(site, foreign_messages={"other": TASK})

    _put(site, EVENT)

    wait_until(lambda: site.backlog() == {"events": 0, "events-dead": 1}, what="it is dead")
    assert site.notes("event") == []
