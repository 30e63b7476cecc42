"""Whose turn it is to have overviews, proxies and suggestions made; nobody's hold up another's."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.database import now
from cutmv.jobs import (
    ANALYSIS,
    OVERVIEW,
    PROXY,
    DerivativeClaim,
    Derivatives,
    DerivativeState,
    JobStore,
    Record,
    Records,
    StorageFull,
    TooManyDerivatives,
    TooManyRows,
    UnknownUpload,
    Upload,
    derivative_key,
    measure,
    sheet_name,
)
from cutmv.jobs.derivatives.asked import MAX_SENDS
from cutmv.jobs.derivatives.claims import MAX_ATTEMPTS
from cutmv.jobs.quotas.stored import stored_bytes
from cutmv.jobs.tables import derivatives, uploads
from cutmv.people import Accounts
from cutmv.storage import LocalStorage
from tests.support.jobs import add_upload, let_time_pass

#: Derivatives of a person that wait or are made, and those of one kind that are sent.
MOST, AHEAD = 6, 2


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    store = JobStore(url, Limits(derivatives=MOST, derivatives_ahead=AHEAD, stored_bytes=10**9))
    yield store
    store.close()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "files")


@pytest.fixture
def known(store: JobStore, storage: LocalStorage) -> Derivatives:
    return Derivatives(store, storage)


def uploads_of(store: JobStore, person: str | None, count: int) -> list[Upload]:
    made = [add_upload(store) for _ in range(count)]
    with store.engine.begin() as db:
        ids = [each.id for each in made]
        db.execute(uploads.update().where(uploads.c.id.in_(ids)).values(person_id=person))
    return [replace(each, person_id=person) for each in made]


def taken(known: Derivatives, *, alone: bool = False) -> list[str]:
    return [upload.id for _, upload in known.next(alone=alone)]


def send(known: Derivatives, upload: Upload) -> None:
    known.prepare(PROXY, upload)
    known.sent(PROXY, upload)


def begin(store: JobStore, storage: LocalStorage, upload: Upload) -> DerivativeClaim:
    claim = DerivativeClaim.take(store, storage, PROXY, upload)
    assert claim is not None
    Records(storage, PROXY).keep(upload, Record(DerivativeState.RUNNING, percent=40.0))
    return claim


def state(known: Derivatives, upload: Upload) -> DerivativeState | None:
    record = known.record(PROXY, upload)
    return record and record.state


def put(storage: LocalStorage, upload: Upload, name: str, size: int) -> None:
    stream = io.BytesIO(b"0" * size)
    key = derivative_key(upload, name)
    storage.put_stream(key, stream, content_type="image/jpeg", max_bytes=size)


def test_few_of_a_person_are_sent_at_once_and_another_s_before_the_rest(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    of_ann, of_ben = uploads_of(store, "ann", 4), uploads_of(store, "ben", 1)

    turns = [known.ask(PROXY, each) for each in of_ann]

    assert turns == [True, True, False, False]
    assert known.ask(PROXY, of_ben[0]), "ben waits for none of them"
    assert known.ask(OVERVIEW, of_ann[0]), "what is to be seen waits for no proxy"
    assert taken(known) == []
    for each in of_ann[:2]:
        send(known, each)
    begin(store, storage, of_ann[1]).end()
    assert taken(known) == [of_ann[2].id]
    assert taken(known) == [], "whoever was told is about to send it"
    begin(store, storage, of_ann[0]).end()
    begin(store, storage, of_ann[2]).end()
    assert taken(known) == [of_ann[3].id]


def test_the_first_of_each_person_come_first(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    first, second = uploads_of(store, "ann", 4), uploads_of(store, "ben", 3)
    for each in (*first, *second):
        known.ask(PROXY, each)
    for each in (*first[:2], *second[:2]):
        begin(store, storage, each).end()

    assert taken(known) == [first[2].id, second[2].id, first[3].id]


def test_more_are_refused_in_a_line_and_what_is_asked_for_counts_and_is_sent_once(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    of_ann = uploads_of(store, "ann", MOST + 1)
    for each in of_ann[:MOST]:
        known.ask(PROXY, each)

    with pytest.raises(TooManyDerivatives, match=f"^{MOST} overviews, proxies and suggestions"):
        known.ask(OVERVIEW, of_ann[-1])

    assert not known.ask(PROXY, of_ann[0]), "it was asked for, and is sent by who did"
    known.ask(OVERVIEW, uploads_of(store, "ben", 1)[0])
    begin(store, storage, of_ann[0]).end()
    known.ask(OVERVIEW, of_ann[-1])


def test_what_a_process_that_died_was_to_send_another_sends(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    (upload,) = uploads_of(store, None, 1)
    # What there is of another time says nothing.
    Records(storage, PROXY).keep(upload, Record(DerivativeState.FAILED, error="It is damaged."))
    known.ask(PROXY, upload)
    assert state(known, upload) is DerivativeState.QUEUED
    assert taken(known) == [], "whoever was told that it is their turn is about to"

    let_time_pass(store)

    assert taken(known) == [upload.id]
    assert taken(known) == [], "who takes it over is about to"


def test_a_message_that_is_lost_is_sent_again_ever_more_rarely(
    store: JobStore, known: Derivatives
) -> None:
    (upload,) = uploads_of(store, None, 1)
    known.ask(PROXY, upload)
    pauses_s: list[float] = []
    for _ in range(MAX_SENDS):
        send(known, upload)
        with store.reading() as db:
            pauses_s.append(round(db.scalar(sa.select(derivatives.c.look_at - now())) or 0.0))
        assert taken(known) == []
        assert state(known, upload) is DerivativeState.QUEUED
        let_time_pass(store)
        sent_again = taken(known)

    assert pauses_s[:7] == [60, 120, 240, 480, 960, 1_920, 3_840]
    assert set(pauses_s[7:]) == {3_840}
    assert 86_400 < sum(pauses_s) < 100_000
    assert sent_again == [], "it is given up"
    record = known.record(PROXY, upload)
    assert record and (record.state, record.error) == (
        DerivativeState.FAILED,
        "No worker has taken it for a day.",
    )
    assert known.ask(PROXY, upload)


def test_what_was_lost_with_its_worker_is_sent_again_and_given_up_in_the_end(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    upload, *_, waits = uploads_of(store, None, AHEAD + 1)
    known.ask(PROXY, upload)
    known.ask(OVERVIEW, waits)
    for _ in range(MAX_ATTEMPTS):
        send(known, upload)
        claim = begin(store, storage, upload)
        record = known.record(PROXY, upload)
        assert record and (record.state, record.percent) == (DerivativeState.RUNNING, 40.0)
        assert claim.renew() and taken(known) == []
        with store.engine.begin() as db:
            its = derivatives.c.upload_id == upload.id
            db.execute(derivatives.update().where(its).values(look_at=now() - 1.0))
        sent_again = taken(known)
        assert not claim.renew(), "it is another's"

    assert sent_again == []
    record = known.record(PROXY, upload)
    assert record and record.error == f"It was lost with its worker {MAX_ATTEMPTS} times."


def test_to_wait_for_a_neighbour_is_no_attempt(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    (upload,) = uploads_of(store, None, 1)
    known.ask(PROXY, upload)
    for _ in range(MAX_ATTEMPTS + 2):
        send(known, upload)
        claim = begin(store, storage, upload)
        known.prepare(PROXY, upload)
        claim.release(30.0)
    assert taken(known) == [], "a message of it is on its way"
    let_time_pass(store)
    assert taken(known) == [upload.id]


def test_where_no_broker_answers_what_it_has_is_made_here(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    queued, begun, waits = uploads_of(store, None, AHEAD + 1)
    for each in (queued, begun, waits):
        known.ask(PROXY, each)
    for each in (queued, begun):
        send(known, each)
    begin(store, storage, begun)

    assert taken(known) == []
    assert taken(known, alone=True) == [queued.id], "a worker is at the other"
    assert taken(known, alone=True) == [], "once"


def test_what_is_made_counts_as_stored_and_who_has_stored_all_gets_no_more(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    person = Accounts(store.engine).add("ann@example.com")
    first, second, *others = uploads_of(store, person.id, 2 + AHEAD)
    with store.reading() as db:
        before = stored_bytes(db, person.id)
    known.ask(OVERVIEW, first)
    put(storage, first, sheet_name(0), 3_000)
    put(storage, first, "peaks", 200)
    put(storage, first, "proxy.mp4", 70_000)  # another kind's

    measure(store, storage, OVERVIEW, first)

    with store.reading() as db:
        assert stored_bytes(db, person.id) == before + 3_200
        assert stored_bytes(db, "ben") == 0
    for each in (*others, second):
        known.ask(PROXY, each)
    begin(store, storage, others[0]).end()
    accounts = Accounts(store.engine)
    accounts.set_quotas(str(person.id), {"stored_bytes": before + 3_200})
    with pytest.raises(StorageFull):
        known.ask(OVERVIEW, second)
    assert taken(known) == [], "nor what was waiting"
    record = known.record(PROXY, second)
    assert record and "There is no room for it" in str(record.error)
    accounts.set_quotas(str(person.id), {"rows": 3})
    with pytest.raises(TooManyRows, match=r"^You have 3 uploads, jobs,"):
        known.ask(OVERVIEW, others[0])
    assert not known.ask(OVERVIEW, first), "it is there already"


def test_one_of_a_deleted_upload_is_neither_asked_for_nor_sent_nor_made(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    upload, *others, waits = uploads_of(store, None, AHEAD + 1)
    for each in (upload, *others, waits):
        known.ask(PROXY, each)
    claim = begin(store, storage, upload)
    with store.engine.begin() as db:
        db.execute(uploads.delete().where(uploads.c.id.in_([upload.id, waits.id])))

    with pytest.raises(UnknownUpload):
        known.ask(PROXY, upload)
    assert not claim.renew() and not claim.drop()
    claim.end()
    assert taken(known) == []


def test_what_nobody_wants_any_more_is_not_made_and_keeps_its_turn_while_it_is_on_its_way(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    sent, begun, waits, last = uploads_of(store, None, AHEAD + 2)
    for each in (sent, begun, waits, last):
        known.ask(PROXY, each)
    for each in (sent, begun):
        send(known, each)
    claim = begin(store, storage, begun)

    for each in (sent, begun, waits):
        known.forget(PROXY, each)

    assert [state(known, each) for each in (sent, begun, waits)] == [None] * 3
    assert taken(known) == [], "messages of the first two are with the broker"
    assert not claim.renew() and claim.drop()
    assert taken(known) == [last.id]
    assert DerivativeClaim.take(store, storage, PROXY, sent) is None
    assert DerivativeClaim.take(store, storage, PROXY, waits) is None
    with store.reading() as db:
        assert list(db.scalars(sa.select(derivatives.c.upload_id))) == [last.id]


def test_what_is_wanted_again_while_it_is_on_its_way_is_made_once(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    sent, begun = uploads_of(store, None, 2)
    for each in (sent, begun):
        known.ask(PROXY, each)
        send(known, each)
    claim = begin(store, storage, begun)
    for each in (sent, begun):
        known.forget(PROXY, each)

    assert [known.ask(PROXY, each) for each in (sent, begun)] == [False, False]

    assert claim.renew()
    assert state(known, sent) is DerivativeState.QUEUED
    begin(store, storage, sent).end()
    # One that had stopped by then is left to the next look.
    known.forget(PROXY, begun)
    assert not claim.renew()
    known.ask(PROXY, begun)
    assert not claim.drop()
    assert taken(known) == [begun.id]


def test_what_a_worker_of_the_version_before_has_made_ends(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    made, making = uploads_of(store, "ann", 2)
    for each in (made, making):
        known.ask(PROXY, each)
        send(known, each)
    put(storage, made, "proxy.mp4", 70_000)
    records = Records(storage, PROXY)
    records.keep(made, Record(DerivativeState.FAILED, error="It is damaged."))
    records.keep(making, Record(DerivativeState.RUNNING))
    let_time_pass(store)

    assert taken(known) == []

    assert known.record(PROXY, made) == records.of(made)
    with store.reading() as db:
        assert stored_bytes(db, "ann") > made.size + making.size + 70_000
    let_time_pass(store)
    assert taken(known) == [], "it still tells that it lives"
    with storage.open_range(derivative_key(making, "proxy")) as chunks:
        record = b"".join(chunks).replace(b'"at": 1', b'"at": ')
    put_back = io.BytesIO(record)
    storage.put_stream(
        derivative_key(making, "proxy"), put_back, content_type="", max_bytes=len(record)
    )
    let_time_pass(store)
    assert taken(known) == [making.id], "it does no more"


def test_what_the_version_before_has_asked_for_is_made_once(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    (upload,) = uploads_of(store, "ann", 1)
    Records(storage, PROXY).keep(upload, Record(DerivativeState.QUEUED))

    claim = begin(store, storage, upload)

    assert DerivativeClaim.take(store, storage, PROXY, upload) is None
    Records(storage, PROXY).keep(upload, Record(DerivativeState.DONE))
    claim.end()
    assert DerivativeClaim.take(store, storage, PROXY, upload) is None
    Records(storage, PROXY).keep(upload, Record(DerivativeState.QUEUED))  # it asks again
    begin(store, storage, upload)


def test_what_nobody_can_make_keeps_no_turn(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    unreadable, later, waits = uploads_of(store, None, AHEAD + 1)
    for each in (unreadable, later, waits):
        known.ask(PROXY, each)
    with store.engine.begin() as db:
        its = uploads.c.id == unreadable.id
        db.execute(uploads.update().where(its).values(created_at=float("inf")))
        its = derivatives.c.upload_id == later.id
        db.execute(derivatives.update().where(its).values(kind="hologram"))
    let_time_pass(store)

    assert taken(known) == [waits.id]
    let_time_pass(store)
    assert taken(known) == [waits.id], "the others have ended"


def test_many_that_wait_are_looked_through_in_little_time(
    store: JobStore, storage: LocalStorage
) -> None:
    store.limits = Limits(derivatives=10_000)
    known = Derivatives(store, storage)
    for person in ("ann", "ben"):
        for each in uploads_of(store, person, 40):
            known.ask(ANALYSIS, each)

    began = time.process_time()
    assert taken(known) == []
    assert time.process_time() - began < 0.2
