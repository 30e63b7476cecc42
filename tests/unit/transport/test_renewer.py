"""What the keeper does with leases: its ledger is a directory, its settler only collects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cutmv.transports.cloudflare.api.client import Client
from cutmv.transports.cloudflare.leases.acknowledger import Lease, Settler
from cutmv.transports.cloudflare.leases.ledger import Entry, ObjectLedger, Record
from cutmv.transports.cloudflare.leases.renewer import TAKE_AGAIN, Deadly, Keeper
from cutmv.transports.cloudflare.messages.object_store import DirectoryObjects
from cutmv.transports.cloudflare.options import Credentials, Options
from tests.support.transport import wait_until

#: Seconds of a lease.
LEASE_S = 0.6
#: How many consumers may be lost with a message.
ALLOWED = 3


class Site:
    """A keeper, the ledger that it shares with another, and what reaches the settler."""

    def __init__(self, directory: Path, client: Client) -> None:
        self.directory = directory
        directory.mkdir()
        self.ledger = ObjectLedger(DirectoryObjects(directory))
        self.settler = Settler(client, linger=0)
        self.keeper = Keeper(
            lambda: ObjectLedger(DirectoryObjects(directory)), self.settler, LEASE_S
        )

    def lease(self, key: str = "m") -> Lease:
        return Lease("q", f"lease-of-{key}", key=key, until=time.monotonic() + LEASE_S)

    def record(self, key: str = "m") -> Record:
        return wait_until(lambda: self.ledger.read(key), what="there is a record")

    def settled(self) -> list[tuple[str, float | None]]:
        """What the settler was told so far: the lease, and the delay of its return."""
        told = []
        while self.settler._intake:
            ending = self.settler._intake.popleft()
            told.append((ending.lease.key, ending.delay))  # type: ignore[union-attr]
        return told


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Client(Credentials("account", "token"), Options())) as client:
        site = Site(tmp_path / "ledger", client)
        site.keeper.start()
        yield site
        site.keeper.close(5)


def test_a_message_that_ends_soon_costs_no_record(site: Site) -> None:
    lease = site.lease()
    site.keeper.track(lease)
    site.keeper.ack(lease)

    assert site.settled() == [("m", None)]
    site.keeper.flush(5)
    assert site.ledger.read("m") is None


def test_a_message_that_is_held_is_kept_and_then_done(site: Site) -> None:
    lease = site.lease()
    site.keeper.track(lease)
    end = time.monotonic() + 3 * LEASE_S
    assert site.record().entry.state == "held"
    while time.monotonic() < end:  # at no moment could another take it
        assert site.record().remaining > 0
    site.keeper.ack(lease)
    site.keeper.flush(5)

    assert site.record().entry.state == "done"
    assert site.settled() == [("m", None)]
    assert site.keeper.take(site.lease(), ALLOWED) is None, "a copy is not run"


def test_a_message_that_is_returned_may_be_taken_at_once(site: Site) -> None:
    lease = site.lease()
    site.keeper.track(lease)
    assert site.record().entry.state == "held"
    assert 0 < (site.keeper.take(site.lease(), ALLOWED) or 0) <= LEASE_S
    site.keeper.retry(lease, 3)
    site.keeper.flush(5)

    assert site.settled() == [("m", 3)]
    assert site.keeper.take(site.lease(), ALLOWED) == 0


def test_who_was_away_for_too_long_finds_its_message_lost(site: Site) -> None:
    lost = []
    lease = site.lease()
    lease.on_lost = lambda: lost.append(lease.key)
    site.ledger.write("m", Entry("another", "held", 60), None)

    site.keeper.track(lease)

    wait_until(lambda: lost, what="it is told")
    site.keeper.ack(lease)
    site.keeper.flush(5)
    assert site.settled() == []
    assert site.record().entry.owner == "another"


def test_an_ack_that_comes_too_late_asks_first(site: Site) -> None:
    late, too_late = site.lease("late"), site.lease("too late")
    late.until = too_late.until = time.monotonic() - 1
    site.ledger.write("too late", Entry("another", "held", 60), None)

    site.keeper.ack(late)
    site.keeper.ack(too_late)
    site.keeper.flush(5)

    assert site.settled() == [("late", None)]
    assert too_late.lost


def test_of_two_who_take_a_message_one_gets_it(site: Site) -> None:
    one, other = site.lease(), site.lease()
    other.lease_id = "another lease"

    assert site.keeper.take(one, ALLOWED) == 0
    assert 0 < (site.keeper.take(other, ALLOWED) or 0) <= TAKE_AGAIN


def test_without_a_ledger_what_is_surely_ours_ends_and_the_rest_waits(site: Site) -> None:
    ours, doubtful = site.lease("ours"), site.lease("doubtful")
    ours.version = "of a record that was written"
    doubtful.until = time.monotonic() - 1
    away = site.directory.rename(site.directory.with_name("away"))
    site.directory.touch()

    site.keeper.ack(doubtful)
    site.keeper.ack(ours)
    settled: list[tuple[str, float | None]] = []
    wait_until(lambda: settled.extend(site.settled()) or settled, what="ours ends")
    assert settled == [("ours", None)]
    site.directory.unlink()
    away.rename(site.directory)

    site.keeper.flush(5)
    assert site.settled() == [("doubtful", None)]


def test_a_message_that_no_consumer_survives_is_told_in_the_end(site: Site) -> None:
    for losses in range(ALLOWED + 1):
        lease = site.lease()
        lease.lease_id = f"lease {losses}"
        assert site.keeper.take(lease, ALLOWED) == 0
        record = site.record()
        assert record.entry.losses == losses
        # Its consumer dies, so that the record is over.
        over = Entry(record.entry.owner, "held", 0.0, losses)
        assert site.ledger.write("m", over, lease.version)

    with pytest.raises(Deadly, match=f"{ALLOWED + 1} consumers were lost"):
        site.keeper.take(site.lease(), ALLOWED)
    assert site.keeper.take(site.lease(), ALLOWED) == 0, "one that is replayed runs"


def test_what_is_returned_loses_nobody(site: Site) -> None:
    lease = site.lease()
    assert site.keeper.take(lease, 0) == 0
    site.keeper.retry(lease)
    site.keeper.flush(5)

    assert site.keeper.take(site.lease(), 0) == 0


def test_a_record_that_can_t_be_written_holds_up_no_other(site: Site) -> None:
    stuck, fine = site.lease("stuck"), site.lease("fine")
    stuck.until = fine.until = time.monotonic() - 1
    site.ledger.write("stuck", Entry("another", "held", 60), None)
    (record,) = [
        path for path in site.directory.rglob("*") if path.is_file() and path.stat().st_size
    ]
    record.write_text("none of ours")  # so that it can be neither read nor replaced

    site.keeper.ack(stuck)
    site.keeper.ack(fine)

    settled: list[tuple[str, float | None]] = []
    wait_until(lambda: settled.extend(site.settled()) or settled, what="the other ends")
    assert settled == [("fine", None)]


def test_what_waits_for_its_ack_is_known_to_be_done(site: Site) -> None:
    lease = site.lease()
    site.keeper.ack(lease)
    assert site.settled() == [("m", None)]
    assert site.ledger.read("m") is None

    site.settler.on_trouble([lease, Lease("q", "of no message")])
    site.keeper.flush(5)

    assert site.keeper.take(site.lease(), ALLOWED) is None, "a copy is not run"
    assert site.settled() == [], "the settler still has it"
