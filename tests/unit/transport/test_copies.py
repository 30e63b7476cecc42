"""Two deliveries of one message in one process: one goes on, and the other ends with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.leases.acknowledger import Acknowledger
from cutmv.transports.cloudflare.leases.delivery import Delivery, Lease
from cutmv.transports.cloudflare.leases.ledger import Entry, Record
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.runtime import clock
from tests.support.transport import wait_until

ALLOWED = 100


class OneRecord:
    """A ledger of one message, held in memory."""

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.version = 0

    def read(self, _key: str) -> Record | None:
        return None if self.entry is None else Record(self.entry, 0.0, str(self.version))

    def write(self, _key: str, entry: Entry, version: str | None) -> str | None:
        if version != (None if self.entry is None else str(self.version)):
            return None
        self.entry, self.version = entry, self.version + 1
        return str(self.version)

    def close(self) -> None:
        pass


class Site:
    """An acknowledger, and what reaches Cloudflare."""

    def __init__(self, client: Client, ledger: OneRecord | None) -> None:
        self.ledger = ledger
        self.acks = Acknowledger(client, 0, open_ledger=lambda: ledger, lease_seconds=20.0)
        self.acks._batcher.start = lambda: None  # what it is handed stays to be seen
        self.acks.start_extending()

    def delivery(self, lease_id: str, attempts: int = 1, seconds: float = 20.0) -> Delivery:
        entry = {"id": lease_id[0], "lease_id": lease_id, "attempts": attempts}
        return Delivery(Lease("q", lease_id, key="m", until=clock() + seconds), entry)

    def adopts(self, delivery: Delivery) -> bool:
        return self.acks.adopt(delivery, ALLOWED)

    def told(self) -> list[tuple[str, float | None]]:
        """What Cloudflare would be told so far: leases, and the delays of their returns."""
        handed_over = self.acks._batcher._handed_over
        return [(each.delivery.lease.lease_id, each.delay) for each in handed_over]


@pytest.fixture(params=["no ledger", "ledger"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with closing(Client(Credentials("account", "token"), Options())) as client:
        site = Site(client, OneRecord() if request.param == "ledger" else None)
        yield site
        if site.acks._renewer:
            site.acks._renewer.close(5)


@pytest.mark.parametrize(
    ("end", "delay"),
    [(Acknowledger.ack, None), (Acknowledger.reject, None), (Acknowledger.requeue, 0.0)],
)
def test_copies_end_as_the_delivery_does(site: Site, end: Any, delay: float | None) -> None:
    one, two, three = (site.delivery(name) for name in ("a1", "b1", "c1"))
    assert [site.adopts(each) for each in (one, two, three)] == [False, True, True]
    assert site.told() == []

    end(site.acks, one)
    end(site.acks, one)

    assert sorted(site.told()) == [("a1", delay), ("b1", delay), ("c1", delay)]
    again = site.delivery("d1")
    assert not site.adopts(again), "nothing is held any more"
    assert site.acks.is_done(again) is (delay is None)


def test_a_copy_that_comes_while_its_message_ends_is_no_delivery_of_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy comes at the worst moment: what has adopted copies so far is ending them."""
    one, two = site.delivery("a1"), site.delivery("b1")
    assert not site.adopts(one)
    told: list[bool] = []
    add = site.acks._finished.add

    def adopt_meanwhile(delivery: Delivery) -> None:
        add(delivery)
        if delivery is one:
            told.append(site.adopts(two))

    monkeypatch.setattr(site.acks._finished, "add", adopt_meanwhile)
    site.acks.ack(one)

    assert told == [True]
    assert sorted(site.told()) == [("a1", None), ("b1", None)]


def test_a_copy_that_comes_too_late_to_end_with_its_message_is_done(site: Site) -> None:
    one, two = site.delivery("a1"), site.delivery("b1")

    class Late(list[Delivery]):
        def append(self, copy: Delivery) -> None:
            site.acks.ack(one)
            super().append(copy)

    one.copies = Late()
    assert not site.adopts(one)
    assert not site.adopts(two)
    assert site.acks.is_done(two)


def test_what_another_consumer_took_over_gives_its_copies_back() -> None:
    with closing(Client(Credentials("account", "token"), Options())) as client:
        site = Site(client, ledger := OneRecord())
        one, two = site.delivery("a1"), site.delivery("b1")
        assert [site.adopts(one), site.adopts(two)] == [False, True]
        ledger.entry, ledger.version = Entry("another", "held", 20.0), 1

        site.acks.extend(one)
        site.acks.extend(one, at_once=True)
        wait_until(lambda: site.told() == [("b1", 0.0)], 5, "the copy goes back, and no ack")
        assert not site.adopts(site.delivery("b2", attempts=2)), "the message is not held here"
        assert site.acks._renewer
        site.acks._renewer.close(5)


def test_the_ledger_decides_about_what_comes_again(site: Site) -> None:
    one = site.delivery("a1")
    assert not site.adopts(one)
    # Cloudflare gives a message one id for good, as far as is believed.
    assert site.adopts(site.delivery("a2", attempts=2)) is (site.ledger is None)
    assert site.adopts(site.delivery("b51", attempts=51)) is (site.ledger is None)


def test_a_lease_lasts_as_long_as_the_first_that_ends() -> None:
    with closing(Client(Credentials("account", "token"), Options())) as client:
        site = Site(client, None)
        one, two, three = (site.delivery(f"a{n}", seconds=n) for n in (20, 10, 30))
        for each in (one, two, three):
            site.adopts(each)
        assert one.lease.until == two.lease.until

        over = clock() - 1
        one.lease.until = two.lease.until = over
        four = site.delivery("a4", attempts=2, seconds=40)
        site.adopts(four)
        assert one.lease.until == three.lease.until, "and what is over comes again"
        assert one.copies == [three, four]


def test_a_copy_is_what_its_message_was(site: Site) -> None:
    one, two = site.delivery("a1"), site.delivery("b1")
    assert [site.adopts(one), site.adopts(two)] == [False, True]
    one.given = True
    site.acks.requeue(one)
    assert site.acks.seen_before(site.delivery("a2", attempts=2)), "somebody was given it"

    three, four = site.delivery("c1"), site.delivery("d1")
    assert [site.adopts(three), site.adopts(four)] == [False, True]
    three.leave_to_copy()
    site.acks.reject(three)
    assert not site.acks.is_done(site.delivery("e1")), "it goes on in another queue, or later"


def test_a_record_is_written_of_a_message_and_not_of_each_copy() -> None:
    with closing(Client(Credentials("account", "token"), Options())) as client:
        site = Site(client, OneRecord())
        one, two = site.delivery("a1"), site.delivery("b1", seconds=0.0)
        assert [site.adopts(one), site.adopts(two)] == [False, True]
        assert site.acks.take(one, ALLOWED) == 0

        site.acks.ack(one)
        wait_until(lambda: sorted(site.told()) == [("a1", None), ("b1", None)], 5, "both end")
        assert site.acks._renewer
        site.acks._renewer.close(5)
