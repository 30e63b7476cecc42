"""What becomes of leases that a ledger keeps: it is a directory, and acks are only collected."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.leases import finished, renewer
from cutmv.transports.cloudflare.leases.acknowledger import Acknowledger
from cutmv.transports.cloudflare.leases.delivery import Delivery, Lease
from cutmv.transports.cloudflare.leases.ledger import Entry, ObjectLedger, Record
from cutmv.transports.cloudflare.leases.renewer import CONTESTED_DELAY, Deadly
from cutmv.transports.cloudflare.messages.directory_store import DirectoryObjectStore
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.runtime import clock
from tests.support.transport import wait_until

#: Seconds of a lease.
LEASE_S = 0.6
#: How many consumers may be lost with a message.
ALLOWED = 3


class Site:
    """An acknowledger, the ledger that it shares with another, and what reaches Cloudflare."""

    def __init__(self, directory: Path, client: Client) -> None:
        self.directory = directory
        directory.mkdir()
        self.ledger = ObjectLedger(DirectoryObjectStore(directory))
        self.acks = Acknowledger(
            client,
            linger=0,
            open_ledger=lambda: ObjectLedger(DirectoryObjectStore(directory)),
            lease_seconds=LEASE_S,
        )

    def delivery(self, key: str = "m") -> Delivery:
        lease = Lease("q", f"lease-of-{key}", key=key, until=clock() + LEASE_S)
        return Delivery(lease)

    def flush(self) -> None:
        """Wait until the ledger knows all that was handed over."""
        assert self.acks._renewer
        self.acks._renewer.flush(5)

    def record(self, key: str = "m") -> Record:
        return wait_until(lambda: self.ledger.read(key), what="there is a record")

    def ended(self) -> list[tuple[str, float | None]]:
        """What Cloudflare would be told so far: the message, and the delay of its return."""
        told = []
        while self.acks._batcher._handed_over:
            ending = self.acks._batcher._handed_over.popleft()
            told.append((ending.delivery.lease.key, ending.delay))
        return told


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Client(Credentials("account", "token"), Options())) as client:
        site = Site(tmp_path / "ledger", client)
        # Not the thread that calls Cloudflare: what it is handed stays to be seen.
        site.acks._batcher.start = lambda: None
        site.acks.start_extending()
        yield site
        assert site.acks._renewer
        site.acks._renewer.close(5)


def test_a_message_that_ends_soon_costs_no_record(site: Site) -> None:
    delivery = site.delivery()
    site.acks.extend(delivery)
    site.acks.ack(delivery)

    assert site.ended() == [("m", None)]
    site.flush()
    assert site.ledger.read("m") is None


def test_a_message_that_is_held_is_kept_and_then_done(site: Site) -> None:
    delivery = site.delivery()
    site.acks.extend(delivery)
    end = time.monotonic() + 3 * LEASE_S
    assert site.record().entry.state == "held"
    while time.monotonic() < end:  # at no moment could another take it
        assert site.record().remaining > 0
        time.sleep(0.01)  # for the renewer, which is a thread of this process
    site.acks.ack(delivery)
    site.flush()

    assert site.record().entry.state == "done"
    assert site.ended() == [("m", None)]
    assert site.acks.take(site.delivery(), ALLOWED) is None, "a copy is not run"


def test_a_message_that_is_returned_may_be_taken_at_once(site: Site) -> None:
    delivery = site.delivery()
    site.acks.extend(delivery)
    assert site.record().entry.state == "held"
    assert 0 < (site.acks.take(site.delivery(), ALLOWED) or 0) <= LEASE_S
    site.acks.requeue(delivery, 3)
    site.flush()

    assert site.ended() == [("m", 3)]
    assert site.acks.take(site.delivery(), ALLOWED) == 0


def test_who_was_away_for_too_long_finds_its_message_lost(site: Site) -> None:
    lost: list[str] = []
    delivery = site.delivery()
    delivery.on_lost = lambda each: lost.append(each.lease.key)
    site.ledger.write("m", Entry("another", "held", 60), None)

    site.acks.extend(delivery)

    wait_until(lambda: lost, what="it is told")
    site.acks.ack(delivery)
    site.flush()
    assert site.ended() == []
    assert site.record().entry.owner == "another"


def test_an_ack_that_comes_too_late_asks_first(site: Site) -> None:
    late, too_late = site.delivery("late"), site.delivery("too late")
    late.lease.until = too_late.lease.until = clock() - 1
    site.ledger.write("too late", Entry("another", "held", 60), None)

    site.acks.ack(late)
    site.acks.ack(too_late)
    site.flush()

    assert site.ended() == [("late", None)]
    assert too_late.lease.lost


def test_of_two_who_take_a_message_one_gets_it(site: Site) -> None:
    one, other = site.delivery(), site.delivery()
    other.lease.lease_id = "another lease"

    assert site.acks.take(one, ALLOWED) == 0
    assert 0 < (site.acks.take(other, ALLOWED) or 0) <= CONTESTED_DELAY


def test_without_a_ledger_what_is_surely_ours_ends_and_the_rest_waits(site: Site) -> None:
    ours, doubtful = site.delivery("ours"), site.delivery("doubtful")
    ours.lease.version = "of a record that was written"
    doubtful.lease.until = clock() - 1
    away = site.directory.rename(site.directory.with_name("away"))
    site.directory.touch()

    site.acks.ack(doubtful)
    site.acks.ack(ours)
    ended: list[tuple[str, float | None]] = []
    wait_until(lambda: ended.extend(site.ended()) or ended, what="ours ends")
    assert ended == [("ours", None)]
    site.directory.unlink()
    away.rename(site.directory)

    site.flush()
    assert site.ended() == [("doubtful", None)]


def test_a_message_that_no_consumer_survives_is_told_in_the_end(site: Site) -> None:
    for losses in range(ALLOWED + 1):
        delivery = site.delivery()
        delivery.lease.lease_id = f"lease {losses}"
        assert site.acks.take(delivery, ALLOWED) == 0
        record = site.record()
        assert record.entry.losses == losses
        # Its consumer dies, so that the record is over.
        over = Entry(record.entry.owner, "held", 0.0, losses)
        assert site.ledger.write("m", over, delivery.lease.version)

    with pytest.raises(Deadly, match=f"{ALLOWED + 1} consumers were lost"):
        site.acks.take(site.delivery(), ALLOWED)
    assert site.acks.take(site.delivery(), ALLOWED) == 0, "one that is replayed runs"


def test_what_is_returned_loses_nobody(site: Site) -> None:
    delivery = site.delivery()
    assert site.acks.take(delivery, 0) == 0
    site.acks.requeue(delivery)
    site.flush()

    assert site.acks.take(site.delivery(), 0) == 0


def test_a_record_that_can_t_be_written_holds_up_no_other(site: Site) -> None:
    stuck, fine = site.delivery("stuck"), site.delivery("fine")
    stuck.lease.until = fine.lease.until = clock() - 1
    site.ledger.write("stuck", Entry("another", "held", 60), None)
    (record,) = [
        path for path in site.directory.rglob("*") if path.is_file() and path.stat().st_size
    ]
    record.write_text("none of ours")  # so that it can be neither read nor replaced

    site.acks.ack(stuck)
    site.acks.ack(fine)

    ended: list[tuple[str, float | None]] = []
    wait_until(lambda: ended.extend(site.ended()) or ended, what="the other ends")
    assert ended == [("fine", None)]


def test_what_waits_for_its_ack_is_known_to_be_done(site: Site) -> None:
    delivery = site.delivery()
    site.acks.ack(delivery)
    assert site.ended() == [("m", None)]
    assert site.ledger.read("m") is None

    site.acks._note_done([delivery, Delivery(Lease("q", "of no message"))])
    site.flush()

    assert site.acks.take(site.delivery(), ALLOWED) is None, "a copy is not run"
    assert site.ended() == [], "Cloudflare is still to be told"


def test_an_error_that_nobody_expected_loses_no_ending(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, errors = renewer.in_parallel, [MemoryError()]

    def breaks_once(*args: Any) -> Any:
        if args[-1] and errors:
            raise errors.pop()
        return whole(*args)

    monkeypatch.setattr(renewer, "in_parallel", breaks_once)
    delivery = site.delivery()
    assert site.acks.take(delivery, ALLOWED) == 0
    site.acks.ack(delivery)

    wait_until(lambda: site.record().entry.state == "done", 10, "it ends in the ledger")
    assert not errors
    assert wait_until(site.ended, 5, "and at Cloudflare") == [("m", None)]


def test_a_renewal_that_meets_the_end_leaves_no_record_that_holds(site: Site) -> None:
    """The delivery ends, without a record of its own, while its first one is being written."""
    delivery = site.delivery()
    assert site.acks._renewer
    site.acks._renewer._renew(delivery)  # which is no longer extended
    assert site.record().entry.state == "free"


def test_a_write_whose_answer_was_lost_is_known_as_ours(site: Site) -> None:
    delivery = site.delivery()
    assert site.acks.take(delivery, ALLOWED) == 0
    delivery.lease.version = None
    site.acks.ack(delivery)
    site.acks._note_done([delivery])
    site.flush()

    assert site.record().entry.state == "done"


def test_what_is_done_is_noted_once_and_what_has_a_record_not_at_all(site: Site) -> None:
    one, recorded, copied = site.delivery("one"), site.delivery("recorded"), site.delivery("copied")
    assert site.acks.take(recorded, ALLOWED) == 0
    copied.leave_to_copy()
    for _ in range(2):
        site.acks._note_done([one, recorded, copied])
        site.flush()
        version = site.record("one").version
    site.acks._note_done([one])
    site.flush()

    assert site.record("one").version == version
    assert site.record("recorded").entry.state == "held", "its end is on its way there"
    assert site.ledger.read("copied") is None


def test_of_what_cloudflare_has_accepted_meanwhile_nothing_is_noted(site: Site) -> None:
    delivery, other = site.delivery(), site.delivery("other")
    delivery.accepted = True
    site.acks._note_done([delivery, other])
    site.flush()

    assert site.record("other").entry.state == "done"
    assert site.ledger.read("m") is None


def test_a_message_that_is_ending_is_not_held_again_when_its_connection_breaks(site: Site) -> None:
    delivery = site.delivery()
    site.acks.extend(delivery)
    assert site.record().entry.state == "held"

    site.acks.ack(delivery)
    site.acks.extend(delivery, at_once=True)
    site.flush()

    assert site.record().entry.state == "done"
    other = site.delivery("other")  # whose record shows that all leases were looked at since
    site.acks.extend(other)
    assert site.record("other").entry.state == "held"
    assert site.record().entry.state == "done"


def test_a_machine_that_slept_asks_before_it_acks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = site.delivery()
    site.ledger.write("m", Entry("another", "held", 60), None)
    asleep = clock() + 3600
    # `time.monotonic` does not go on while a machine sleeps; the clock of leases does.
    for module in ("acknowledger", "renewer"):
        monkeypatch.setattr(f"cutmv.transports.cloudflare.leases.{module}.clock", lambda: asleep)

    site.acks.ack(delivery)
    site.flush()

    assert site.ended() == []
    assert delivery.lease.lost


def test_a_note_that_the_ledger_does_not_take_is_made_later(site: Site) -> None:
    delivery = site.delivery()
    site.acks.ack(delivery)
    away = site.directory.rename(site.directory.with_name("away"))
    site.directory.touch()

    site.acks._note_done([delivery])
    assert site.acks._renewer
    wait_until(lambda: site.acks._renewer and site.acks._renewer._failing, 5, "it fails")
    site.directory.unlink()
    away.rename(site.directory)
    site.flush()

    assert site.record().entry.state == "done"


def test_a_copy_of_what_is_done_here_is_known_for_a_minute_after_its_ack_is_accepted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery, copy = site.delivery(), site.delivery()
    assert not site.acks.is_done(copy)

    site.acks.ack(delivery)
    assert site.acks.is_done(copy)

    delivery.accepted = True
    site.acks._finished.settle(delivery)
    assert site.acks.is_done(copy), "a copy of it may be on its way"
    assert site.acks._finished.waiting == 0, "without its delivery"
    monkeypatch.setattr(finished, "clock", lambda: clock() + finished.REMEMBER)
    assert not site.acks.is_done(copy)


def test_a_delivery_ends_once(site: Site) -> None:
    delivery = site.delivery()
    site.acks.ack(delivery)
    site.acks.requeue(delivery)
    site.acks.reject(delivery)

    assert site.ended() == [("m", None)]


def test_what_moves_on_as_a_copy_is_free_to_be_taken(site: Site) -> None:
    delivery = site.delivery()
    assert site.acks.take(delivery, ALLOWED) == 0
    delivery.leave_to_copy()
    site.acks.reject(delivery)
    site.flush()

    assert site.record().entry.state == "free"
    assert not site.acks.is_done(site.delivery())
