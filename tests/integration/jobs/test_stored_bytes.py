"""How many bytes one person may have stored: uploads, outputs, and uploads on their way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.jobs import (
    PROXY,
    Claims,
    Deletions,
    Derivatives,
    Job,
    JobStore,
    Output,
    Parts,
    StorageFull,
    Upload,
    look,
    new_id,
    plan_job,
    reserve,
    usage,
)
from cutmv.jobs.quotas import Reservation, reservations
from cutmv.jobs.quotas.stored import coming_bytes, require_bytes, stored_bytes
from cutmv.jobs.request import JobRequest
from cutmv.jobs.tables import derivatives, multipart_uploads, steps, uploads
from cutmv.people import Accounts
from cutmv.storage import LocalStorage
from tests.support.jobs import an_upload

#: Bytes that people may have here.
MOST = 10_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    store = JobStore(url, Limits(stored_bytes=MOST))
    yield store
    store.close()


@pytest.fixture
def ann(store: JobStore) -> str:
    return str(Accounts(store.engine).add("ann@example.com").id)


def add(store: JobStore, person_id: str | None, size: int) -> Upload:
    return store.add_upload(replace(an_upload(), size=size, person_id=person_id))


def job_of(store: JobStore, upload: Upload, *clips: str) -> Job:
    request = JobRequest(upload_id=upload.id, clips=clips or ("0-1",))
    return store.add_job(plan_job(upload, request))


def finish(store: JobStore, job: Job, size: int, number: int = 0) -> None:
    claims, step = Claims(store, "one"), job.steps[number]
    claims.claim(step.id, "redis")
    assert claims.finish(step, Output(f"jobs/{job.id}/{number}", size, "video/mp4"))


def used(store: JobStore, person_id: str | None) -> tuple[int, int]:
    """The bytes that a person has stored, and those on their way."""
    with store.reading() as db:
        return stored_bytes(db, person_id), coming_bytes(db, person_id)


def test_uploads_and_outputs_are_added_up_and_free_once_they_are_deleted(
    store: JobStore, ann: str
) -> None:
    upload = add(store, ann, 4_000)
    add(store, None, 9_000)
    job = job_of(store, upload, "0-1", "1-2")
    finish(store, job, 3_000)
    finish(store, job, 2_000, 1)
    assert used(store, ann) == (9_000, 0)

    Deletions(store).output(job.id, job.steps[0].name)
    assert used(store, ann) == (6_000, 0)
    Deletions(store).job(job.id)
    assert used(store, ann) == (4_000, 0)
    Deletions(store).upload(upload.id)
    assert used(store, ann) == (0, 0)


def test_parts_are_not_counted_which_go_when_they_are_joined(store: JobStore, ann: str) -> None:
    job = job_of(store, add(store, ann, 1_000))
    Claims(store, "one").claim(job.steps[0].id, "redis")
    [part] = Parts(store).divide(job.steps[0], "one", [(0, 1)], [1.0])  # type: ignore[list-item]
    with store.engine.begin() as db:
        db.execute(steps.update().where(steps.c.id == part.id).values(output_size=5_000))

    assert used(store, ann) == (1_000, 0)


def test_of_two_uploads_at_once_one_takes_the_last_bytes(
    store: JobStore, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, ann, 4_000)
    with store.reading() as one, store.reading() as another:  # so that neither has to connect
        one.execute(sa.select(1)), another.execute(sa.select(1))
    both_there = threading.Barrier(2)

    def when_both_are_there(*args: Any, **kwargs: Any) -> None:
        require_bytes(*args, **kwargs)
        with suppress(threading.BrokenBarrierError):
            both_there.wait(0.3)

    monkeypatch.setattr(reservations, "require_bytes", when_both_are_there)

    def begin(held: Reservation) -> bool:
        try:
            held.hold(4_000)
        except StorageFull:
            return False
        return True

    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        both = [stack.enter_context(reserve(store, None, ann)) for _ in range(2)]
        assert sorted(pool.map(begin, both)) == [False, True]
        assert used(store, ann) == (4_000, 4_000)

    assert used(store, ann) == (4_000, 0), "who has failed holds nothing more"


def test_an_upload_that_held_its_bytes_is_kept_though_others_came_between(
    store: JobStore, ann: str
) -> None:
    job = job_of(store, add(store, ann, 4_000))
    with reserve(store, None, ann) as held:
        held.hold(5_000)
        finish(store, job, 3_000)

        add_held(store, held, 5_000)

    assert used(store, ann) == (12_000, 0)


def test_an_upload_without_its_reservation_is_kept_only_where_it_fits(
    store: JobStore, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, ann, 4_000)
    monkeypatch.setattr(reservations, "LASTS_S", -1.0)
    with reserve(store, None, ann) as held:
        held.hold(6_000)
        assert used(store, ann) == (4_000, 0), "its process was away for too long"
        other = add(store, ann, 5_000)
        with pytest.raises(StorageFull) as caught:
            add_held(store, held, 6_000)
        assert (caught.value.used, caught.value.most) == (9_000, MOST)

    with pytest.raises(StorageFull):
        add(store, ann, 1_001)
    assert used(store, ann) == (9_000, 0)
    Deletions(store).upload(other.id)
    add(store, ann, 6_000)


def test_an_upload_whose_length_was_not_told_holds_what_has_come(
    store: JobStore, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "STEP_BYTES", 1_000)
    add(store, ann, 6_000)
    with reserve(store, None, ann) as held:
        held.hold(0)
        for come, holds in ((500, 1_500), (500, 1_500), (1_000, 3_000), (1_500, 3_500)):
            held.arrived(come)
            assert used(store, ann) == (6_000, holds)
        held.arrived(500)
        with pytest.raises(StorageFull):
            held.arrived(1)


def test_a_reservation_is_held_for_as_long_as_bytes_come(
    store: JobStore, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "RENEWED_EVERY_S", -1.0)
    job = job_of(store, add(store, ann, 1_000))
    with reserve(store, None, ann) as held:
        monkeypatch.setattr(reservations, "LASTS_S", 1.0)
        held.hold(5_000)
        finish(store, job, 5_000)
        monkeypatch.setattr(reservations, "LASTS_S", 600.0)
        held.arrived(10)
        with store.reading() as db:
            left_s = db.scalar(
                sa.select(sa.func.max(reservations.reservations.c.expires_at - reservations.now()))
            )
        assert left_s is not None
        assert left_s > 500.0


def test_an_upload_in_parts_holds_its_bytes_until_it_is_one(store: JobStore, ann: str) -> None:
    upload = replace(an_upload(), size=7_000, person_id=ann)
    named = ("id", "person_id", "filename", "size", "content_type", "key")
    row = {name: getattr(upload, name) for name in named}
    with store.engine.begin() as db:
        more = {"storage_id": "s", "part_bytes": 1, "created_at": 1.0}
        db.execute(multipart_uploads.insert().values(row | more))
    assert used(store, ann) == (0, 7_000)
    with pytest.raises(StorageFull), reserve(store, None, ann) as held:
        held.hold(3_001)
    job = job_of(store, add(store, ann, 3_000))
    finish(store, job, 1)

    store.add_upload(upload)

    assert used(store, ann) == (10_001, 0)


def test_a_step_that_was_accepted_is_finished_and_no_other_job_is_taken(
    store: JobStore, ann: str
) -> None:
    upload = add(store, ann, 9_000)
    job = job_of(store, upload)

    finish(store, job, 9_000)

    assert used(store, ann) == (18_000, 0)
    with pytest.raises(StorageFull) as caught:
        job_of(store, upload)
    assert (caught.value.used, caught.value.most) == (18_000, MOST)
    assert [each.id for each in store.jobs(10)] == [job.id]


def test_what_came_before_is_answered_though_all_is_full(store: JobStore, ann: str) -> None:
    upload = replace(an_upload(), size=9_000, person_id=ann)
    with reserve(store, "a key", ann) as held:
        held.hold(9_000)
        first = store.add_upload(replace(upload, id=held.upload_id))
    planned = plan_job(first, JobRequest(upload_id=first.id, clips=("0-1",)), "a key")
    finish(store, store.add_job(planned), 1_000)

    with reserve(store, "a key", ann) as held:
        held.hold(9_000)
        held.arrived(9_000)
        again = store.add_upload(replace(upload, id=held.upload_id, key="uploads/another/source"))

    assert again == first
    assert store.add_job(planned).id == planned.id


def test_a_quota_is_a_person_s_own_and_nobody_s_disk_has_a_bound_of_itself(
    store: JobStore, ann: str
) -> None:
    Accounts(store.engine).set_quotas(ann, {"stored_bytes": 500})
    with pytest.raises(StorageFull), reserve(store, None, ann) as held:
        held.hold(501)
    with pytest.raises(StorageFull):
        add(store, None, MOST + 1)
    store.limits = Limits()
    add(store, None, 10**13)
    with reserve(store, None, None) as held:
        held.hold(10**13)
    ben = str(Accounts(store.engine).add("ben@example.com").id)
    with pytest.raises(StorageFull) as caught, reserve(store, None, ben) as held:
        held.hold(10**13)
    assert caught.value.most == 50_000_000_000


def add_held(store: JobStore, held: Reservation, size: int) -> Upload:
    """Keep the upload for which bytes are held."""
    key = f"uploads/{new_id()}/source"
    upload = replace(an_upload(), id=held.upload_id, key=key, size=size, person_id=held.person_id)
    return store.add_upload(upload)


@pytest.mark.parametrize("size", [2**63 - 1, -1])
def test_a_size_that_can_t_be_counts_as_none(store: JobStore, ann: str, size: int) -> None:
    good, bad = (job_of(store, add(store, ann, 100)) for _ in range(2))
    for job in (good, bad):
        finish(store, job, 10)
    Derivatives(store, LocalStorage(Path())).ask(PROXY, bad.upload)
    columns = [(uploads.c.size, bad.upload.id), (steps.c.output_size, bad.steps[0].id)]
    with store.engine.begin() as db:
        for column, row_id in columns:
            own = column.table.c.id == row_id
            db.execute(column.table.update().where(own).values({column.name: size}))
        db.execute(derivatives.update().values(bytes=size))
        held = {"person_id": ann, "bytes": size, "expires_at": 1e10}
        for _ in range(2):
            db.execute(reservations.reservations.insert().values(id=new_id(), **held))
        assert stored_bytes(db, ann) == 110
        assert coming_bytes(db, ann) == 0

    seen = look(store)

    assert seen.stored == {"uploads": 100, "derivatives": 0, "outputs": 10}
    assert [(each.person_id, each.bytes) for each in seen.holdings] == [(ann, 110)]


@pytest.mark.parametrize("size", ["large", float("inf"), b"\xff\0", 2**63 - 1])
def test_a_size_that_is_no_number_counts_as_none(tmp_path: Path, size: object) -> None:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    ann = str(Accounts(store.engine).add("ann@example.com").id)
    job = job_of(store, add(store, ann, 100))
    with store.engine.begin() as db:
        begun = {"person_id": ann, "filename": "a", "content_type": "b", "key": "c"}
        begun |= {"storage_id": "d", "part_bytes": 1, "created_at": 1.0}
        db.execute(multipart_uploads.insert().values(id=new_id(), size=5, **begun))
        held = {"person_id": ann, "bytes": 7, "expires_at": 1e10}
        db.execute(reservations.reservations.insert().values(id=new_id(), **held))
        assert coming_bytes(db, ann) == 12
        for table, column in (
            ("uploads", "size"),
            ("multipart_uploads", "size"),
            ("reservations", "bytes"),
            ("steps", "output_size"),
        ):
            db.exec_driver_sql(f"update {table} set {column} = ?", (size,))
        assert (stored_bytes(db, ann), coming_bytes(db, ann)) == (0, 0)
    add(store, ann, 30)

    used = usage(store.engine, Limits(), ann)

    assert used["stored_bytes"].used == 30
    assert look(store).stored["uploads"] == 30
    assert store.job(job.id).upload.size == 0
    store.close()
