"""Whose turn it is to have overviews, proxies and suggestions made; nobody's hold up another's."""

from __future__ import annotations

import io
import json
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
    Derivative,
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
    sheet_name,
)
from cutmv.jobs.quotas.stored import stored_bytes
from cutmv.jobs.tables import derivatives, uploads
from cutmv.people import Accounts
from cutmv.storage import LocalStorage
from tests.support.jobs import add_upload

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


def taken(known: Derivatives) -> list[tuple[str, str]]:
    return [(kind.name, upload.id) for kind, upload in known.next()]


def put(storage: LocalStorage, upload: Upload, name: str, size: int) -> None:
    stream = io.BytesIO(b"0" * size)
    key = derivative_key(upload, name)
    storage.put_stream(key, stream, content_type="image/jpeg", max_bytes=size)


def test_few_of_a_person_are_sent_at_once_and_another_s_before_the_rest(
    store: JobStore, known: Derivatives
) -> None:
    of_ann, of_ben = uploads_of(store, "ann", 4), uploads_of(store, "ben", 1)

    turns = [known.ask(PROXY, each)[1] for each in of_ann]

    assert turns == [True, True, False, False]
    assert known.ask(PROXY, of_ben[0])[1], "ben waits for none of them"
    assert known.ask(OVERVIEW, of_ann[0])[1], "what is to be seen waits for no proxy"
    assert taken(known) == []
    known.ended(PROXY, of_ann[1])
    assert taken(known) == [("proxy", of_ann[2].id)]
    assert taken(known) == [], "it is sent"
    known.ended(PROXY, of_ann[0])
    known.ended(PROXY, of_ann[2])
    assert taken(known) == [("proxy", of_ann[3].id)]


def test_the_first_of_each_person_come_first(store: JobStore, known: Derivatives) -> None:
    first, second = uploads_of(store, "ann", 4), uploads_of(store, "ben", 3)
    for each in (*first, *second):
        known.ask(PROXY, each)
    for each in (*first[:2], *second[:2]):
        known.ended(PROXY, each)

    assert [upload for _, upload in taken(known)] == [first[2].id, second[2].id, first[3].id]


def test_what_a_process_that_died_was_to_have_made_another_takes_over(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    upload, making, made, sent = uploads_of(store, None, 4)
    store.limits = replace(store.limits, derivatives_ahead=4)
    for each in (upload, making, made, sent):
        assert known.ask(PROXY, each)[1]
    known.sent(PROXY, sent)
    Records(storage, PROXY).keep(making, Record(DerivativeState.RUNNING))
    Records(storage, PROXY).keep(made, Record(DerivativeState.FAILED, error="It is damaged."))
    assert taken(known) == [], "whoever was told that it is their turn is about to"

    with store.engine.begin() as db:
        db.execute(derivatives.update().values(look_at=now() - 1.0))

    assert taken(known) == [("proxy", upload.id)]
    assert taken(known) == [], "who takes it over is about to"
    with store.reading() as db:
        over = db.scalars(sa.select(derivatives.c.upload_id).where(derivatives.c.ended_at > 0))
        assert list(over) == [made.id]


def test_more_are_refused_in_a_line_and_what_is_asked_for_counts_once(
    store: JobStore, known: Derivatives
) -> None:
    of_ann = uploads_of(store, "ann", MOST + 1)
    for each in of_ann[:MOST]:
        known.ask(PROXY, each)

    with pytest.raises(TooManyDerivatives, match=f"^{MOST} overviews, proxies and suggestions"):
        known.ask(OVERVIEW, of_ann[-1])

    assert not known.ask(PROXY, of_ann[0])[1], "lost and asked for again it goes in line"
    known.ask(OVERVIEW, uploads_of(store, "ben", 1)[0])
    known.ended(PROXY, of_ann[0])
    known.ask(OVERVIEW, of_ann[-1])


def test_what_waits_is_not_taken_for_lost_and_what_was_sent_is(
    store: JobStore, storage: LocalStorage, known: Derivatives, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, *_, waits = uploads_of(store, None, AHEAD + 1)
    for each in (sent, *_, waits):
        known.ask(PROXY, each)
    for each in (sent, waits):
        _age(storage, PROXY, each, 1_000.0)

    record, lost = known.record(PROXY, waits), known.record(PROXY, sent)

    assert record is not None and record.pending_s > 0
    assert lost is not None and not lost.pending_s
    known.sent(PROXY, sent)
    with store.engine.begin() as db:
        db.execute(derivatives.update().where(_is(sent)).values(look_at=now() - 1.0))
    known.settle()
    assert taken(known) == [("proxy", waits.id)]
    record = Records(storage, PROXY).of(waits)
    assert record is not None and record.pending_s > 800, "it may wait for a worker as long"


def test_one_that_is_being_made_is_left_alone(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    upload, other, waits = uploads_of(store, None, AHEAD + 1)
    for each in (upload, other, waits):
        known.ask(PROXY, each)
    known.sent(PROXY, upload)
    Records(storage, PROXY).keep(upload, Record(DerivativeState.RUNNING))
    with store.engine.begin() as db:
        db.execute(derivatives.update().where(_is(upload)).values(look_at=now() - 1.0))

    known.settle()

    assert taken(known) == []
    with store.reading() as db:
        look_in = db.scalar(sa.select(derivatives.c.look_at - now()).where(_is(upload)))
    assert look_in is not None and look_in > 30, "the next look is later"


def test_what_is_made_counts_as_stored_and_who_has_stored_all_gets_no_more(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    person = Accounts(store.engine).add("ann@example.com")
    first, second = uploads_of(store, person.id, 2)
    with store.reading() as db:
        before = stored_bytes(db, person.id)
    known.ask(OVERVIEW, first)
    put(storage, first, sheet_name(0), 3_000)
    put(storage, first, "peaks", 200)
    put(storage, first, "proxy.mp4", 70_000)  # another kind's
    record = len(b"".join(_read(storage, first, "overview")))

    known.ended(OVERVIEW, first)

    with store.reading() as db:
        assert stored_bytes(db, person.id) == before + 3_200 + record
        assert stored_bytes(db, "ben") == 0
    Accounts(store.engine).set_quotas(str(person.id), {"stored_bytes": before + 3_200})
    with pytest.raises(StorageFull):
        known.ask(OVERVIEW, second)
    Accounts(store.engine).set_quotas(str(person.id), {"rows": 3})
    with pytest.raises(TooManyRows, match=r"^You have 3 uploads, jobs,"):
        known.ask(OVERVIEW, second)
    known.ask(OVERVIEW, first)


def test_one_of_a_deleted_upload_is_neither_asked_for_nor_sent_nor_counted(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    upload, *others = uploads_of(store, None, AHEAD + 1)
    for each in (*others, upload):
        known.ask(PROXY, each)
    with store.engine.begin() as db:
        db.execute(uploads.delete().where(uploads.c.id == upload.id))

    with pytest.raises(UnknownUpload):
        known.ask(PROXY, upload)

    known.ended(PROXY, upload)  # a worker that was at it
    known.ended(PROXY, others[0])
    assert taken(known) == []


def test_what_is_forgotten_while_it_waits_is_never_sent(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    first, *_, waits = uploads_of(store, None, AHEAD + 1)
    for each in (first, *_, waits):
        known.ask(ANALYSIS, each)

    known.forget(ANALYSIS, waits)

    known.ended(ANALYSIS, first)
    assert taken(known) == []
    assert known.record(ANALYSIS, waits) is None


def test_what_a_worker_of_the_version_before_was_sent_counts_once_it_is_made(
    store: JobStore, storage: LocalStorage, known: Derivatives
) -> None:
    (upload,) = uploads_of(store, "ann", 1)
    put(storage, upload, "proxy.mp4", 70_000)

    known.ended(PROXY, upload)

    with store.reading() as db:
        assert stored_bytes(db, "ann") == upload.size + 70_000


def _is(upload: Upload) -> sa.ColumnElement[bool]:
    return derivatives.c.upload_id == upload.id


def _age(storage: LocalStorage, kind: Derivative[object], upload: Upload, age_s: float) -> None:
    """Have a record be so old."""
    plain = json.loads(b"".join(_read(storage, upload, kind.name)))
    text = json.dumps(plain | {"at": plain["at"] - age_s}).encode()
    key = derivative_key(upload, kind.name)
    storage.put_stream(key, io.BytesIO(text), content_type="", max_bytes=len(text))


def _read(storage: LocalStorage, upload: Upload, name: str) -> list[bytes]:
    with storage.open_range(derivative_key(upload, name)) as chunks:
        return list(chunks)
