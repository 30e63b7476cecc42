"""ETA and countdown wait in the queue, not in a worker."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cutmv.transports.cloudflare.messages import Outgoing
from cutmv.transports.cloudflare.messages.envelope import encode
from tests.support.emulator import EmulatorProcess
from tests.support.transport import CloudflareSite, connect, make_site, wait_until

#: Seconds between polls of an idle queue, and the second that a start may be late beside it.
POLL_S, GRACE_S = 1.0, 1.0


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


def test_a_countdown_is_kept_by_the_queue_and_never_early(site: CloudflareSite) -> None:
    site.ready(site.worker())
    sent = time.time()
    site.send("record", "later", count=30, countdown=5)
    site.send("record", "now")

    wait_until(lambda: site.emulator.stats()["acked"] == 1, what="what is due ran")
    stats = site.emulator.stats()
    assert stats["leases_outstanding"] == 0, "a worker holds what it can't run"
    assert site.backlog() == {"work": 30}
    assert [note["value"] for note in site.notes("record")] == ["now"]

    wait_until(lambda: len(site.notes("record")) == 31, 30, "the others ran")
    starts = [note["at"] for note in site.notes("record") if note["value"] == "later"]
    assert min(starts) >= sent + 5
    assert site.emulator.stats()["published"] == 31


@pytest.mark.slow
def test_a_lone_eta_is_late_by_a_poll_at_most(site: CloudflareSite) -> None:
    site.ready(site.worker())
    due = datetime.now(UTC) + timedelta(seconds=6)
    site.send("record", "alone", eta=due.isoformat())

    wait_until(lambda: site.notes("record"), 30, "it ran")
    late = site.notes("record")[0]["at"] - due.timestamp()
    assert 0 <= late <= POLL_S + GRACE_S


def test_a_retry_s_countdown_is_kept_by_the_queue(site: CloudflareSite) -> None:
    site.ready(site.worker())
    site.send("flaky", "again", 1, 4)

    wait_until(lambda: len(site.notes("try")) == 1, what="the first try")
    wait_until(
        lambda: (
            site.emulator.stats()["acked"] == 1 and not site.emulator.stats()["leases_outstanding"]
        ),
        what="only the queue has it",
    )
    wait_until(lambda: len(site.notes("try")) == 2, 30, "the second try")
    first, second = (note["at"] for note in site.notes("try"))
    assert second - first >= 4


def test_what_expires_while_it_waits_does_not_run(site: CloudflareSite) -> None:
    worker = site.ready(site.worker())
    site.send("record", "stale", countdown=3, expires=1)

    wait_until(lambda: site.emulator.stats()["acked"] == 1, 30, "it is done with")
    assert site.notes("record") == []
    assert "Discarding revoked task" in worker.log()


def _publish_early(site: CloudflareSite, seconds: float) -> float:
    """Put a task on the queue that is due later, as one comes whose delay was cut into hops."""
    due = datetime.now(UTC) + timedelta(seconds=seconds)
    with connect(site.emulator) as connection:
        channel = connection.channel()
        channel.queue_declare("work")
        message = {
            "body": "[[\"hop\"], {}, {}]",
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": "tests.support.transport_app.record", "id": "hop",
                        "eta": due.isoformat(), "root_id": "hop", "lang": "py",
                        "argsrepr": "", "kwargsrepr": ""},
            "properties": {"body_encoding": "utf-8", "delivery_mode": 2, "correlation_id": "hop",
                           "delivery_info": {"exchange": "", "routing_key": "work"}},
            "id": "hop",
        }  # fmt: skip
        session = connection.transport.session
        session.publishers.to("work").publish([Outgoing(encode(message))])
    return due.timestamp()


@pytest.mark.slow
def test_a_hop_is_a_fresh_message_and_the_old_one_ends(site: CloudflareSite) -> None:
    site.ready(site.worker())
    due = _publish_early(site, 6)

    wait_until(lambda: site.emulator.stats()["published"] == 2, what="it hopped")
    wait_until(lambda: site.emulator.stats()["acked"] == 1, what="the old one is removed")
    assert site.backlog() == {"work": 1}
    wait_until(lambda: site.emulator.stats()["acked"] == 2, 30, "it ran")
    (note,) = site.notes("record")
    assert note["value"] == "hop"
    assert not note["redelivered"]
    assert 0 <= note["at"] - due <= POLL_S + GRACE_S


@pytest.mark.slow
def test_a_hop_that_is_refused_is_tried_again(site: CloudflareSite) -> None:
    worker = site.ready(site.worker(publish_timeout=0.5))
    worker.child.send_signal(signal.SIGSTOP)  # so that it is there long before what is due
    _publish_early(site, 8)
    site.emulator.faults({"route": "batch", "kind": "500"})
    worker.child.send_signal(signal.SIGCONT)

    wait_until(lambda: site.emulator.stats()["retried"] == 1, what="it goes back")
    site.emulator.clear_faults()
    wait_until(lambda: site.notes("record"), 40, "it ran")
    wait_until(lambda: not sum(site.backlog().values()), what="nothing is left")
    assert len(site.notes("record")) == 1
