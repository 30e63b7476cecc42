"""What is deleted is gone for good, whoever runs it and whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import boto3
import httpx
import pytest
import sqlalchemy as sa

from cutmv.config import Settings
from cutmv.database import metadata
from cutmv.dispatch import Deleter
from cutmv.jobs import (
    Backlog,
    Claimed,
    Claims,
    Deletions,
    Hooks,
    Job,
    JobRequest,
    JobStore,
    MultipartUploads,
    Output,
    TooManySteps,
    UnknownJob,
    UnknownUpload,
    output_key,
    plan_job,
)
from cutmv.jobs.tables import deletions, jobs, multipart_uploads, reservations, uploads
from cutmv.people import (
    AccountGone,
    Accounts,
    LastAdministrator,
    Refused,
    UnknownPerson,
    require_account,
)
from cutmv.people.accounts import END_AGAIN_S
from cutmv.people.tables import people
from cutmv.services import Services
from cutmv.storage import StorageUnavailable
from tests.support.fork_server import run_python
from tests.support.jobs import add_upload, an_upload
from tests.support.media import make_sample
from tests.support.processes import slowness, wait_for
from tests.support.s3 import BUCKET, KEY_ID, SECRET
from tests.support.small_disk import SmallDisk
from tests.support.stack import Stack, on_r2, outputs

#: The first bytes of an MP4.
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0"


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    environment = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path / "data")}
    services = Services.open(Settings.from_env(environment))
    yield services
    services.store.close()


def put(services: Services, key: str, folder: Path) -> None:
    """Store something."""
    content = folder / "content"
    content.write_bytes(b"content")
    services.storage.put_file(key, content, content_type="video/mp4")


def done_job(services: Services, folder: Path, *clips: str) -> Job:
    """A job that is done, with its outputs, upload and analysis."""
    upload = add_upload(services.store)
    job = services.store.add_job(plan_job(upload, JobRequest(upload_id=upload.id, clips=clips)))
    put(services, upload.key, folder)
    put(services, upload.key.removesuffix("source") + "analysis", folder)
    for step in job.steps:
        claims = Claims(services.store, "me")
        claimed = claims.claim(step.id, "eager")
        assert isinstance(claimed, Claimed)
        key = output_key(job.id, step.id, step.name)
        put(services, key, folder)
        assert claims.finish(claimed.step, Output(key, 7, "video/mp4"))
    return services.store.job(job.id)


def kept(services: Services) -> list[str]:
    """The keys of all that is stored."""
    root = services.settings.data_dir / "files"
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_a_job_goes_with_its_outputs_and_its_upload_stays(
    services: Services, tmp_path: Path
) -> None:
    job, other = done_job(services, tmp_path, "0-1", "1-2"), done_job(services, tmp_path, "0-1")

    Deleter(services).job(job.id)

    with pytest.raises(UnknownJob):
        services.store.job(job.id)
    assert not [key for key in kept(services) if job.id in key]
    assert services.store.upload(job.upload.id)
    assert services.store.job(other.id) == other
    with pytest.raises(UnknownJob):
        Deleter(services).job(job.id)


def test_an_upload_goes_with_its_analysis_and_all_that_was_made_of_it(
    services: Services, tmp_path: Path
) -> None:
    job, other = done_job(services, tmp_path, "0-1"), done_job(services, tmp_path, "0-1")
    again = services.store.add_job(
        plan_job(job.upload, JobRequest(upload_id=job.upload.id, clips=("1-2",)))
    )

    Deleter(services).upload(job.upload.id)

    for gone in (job, again):
        with pytest.raises(UnknownJob):
            services.store.job(gone.id)
    with pytest.raises(UnknownUpload):
        services.store.add_job(plan_job(job.upload, JobRequest(upload_id="", clips=("0-1",))))
    with pytest.raises(UnknownUpload):
        Deleter(services).upload(job.upload.id)
    assert {key.split("/")[1] for key in kept(services)} == {
        other.id,
        other.upload.key.split("/")[1],
    }


def test_one_output_goes_and_its_job_stays(services: Services, tmp_path: Path) -> None:
    job = done_job(services, tmp_path, "0-1", "1-2")
    first, second = job.steps

    Deleter(services).output(job.id, first.name)

    left = services.store.job(job.id)
    assert [step.output for step in left.steps] == [None, second.output]
    assert left.state == job.state
    assert [key for key in kept(services) if key.startswith("jobs/")] == [
        output_key(job.id, second.id, second.name)
    ]
    with pytest.raises(UnknownJob):
        Deleter(services).output(job.id, first.name)


def test_all_that_a_person_has_goes(services: Services, tmp_path: Path) -> None:
    mine, of_mine, other = (done_job(services, tmp_path, "0-1") for _ in range(3))
    services.accounts.add("boss@example.com", password="correct horse battery", is_admin=True)
    me = str(services.accounts.add("me@example.com").id)
    services.sessions.begin(services.accounts.get(me))
    services.api_keys.add(me, "a program")
    with services.store.engine.begin() as db:
        own = uploads.c.id == mine.upload.id
        db.execute(uploads.update().where(own).values(person_id=me))
        db.execute(jobs.update().where(jobs.c.id == of_mine.id).values(person_id=me))
        row = {"id": "held", "person_id": me, "bytes": 1, "expires_at": 0.0}
        db.execute(reservations.insert().values(row))
    begun = MultipartUploads(services.store, services.storage)
    for storage_id in (None, "no/../id", 17):  # such a row can't be read
        unfinished = begun.begin("me.mp4", 1_000_000, MP4, person_id=me)
        with services.store.engine.begin() as db:
            own = multipart_uploads.c.id == unfinished.id
            if storage_id is not None:
                row = {"storage_id": sa.literal(storage_id, sa.types.NullType())}
                db.execute(multipart_uploads.update().where(own).values(row))
    deleter = Deleter(services)
    deleter.job(done_job(services, tmp_path, "0-1").id)

    deleter.account(me)

    assert [job.id for job in services.store.jobs(10)] == [other.id]
    assert not [key for key in kept(services) if mine.id in key or of_mine.id in key]
    assert services.store.upload(of_mine.upload.id), "it is somebody else's"
    with services.store.reading() as db:
        for table in metadata.tables.values():
            for column in {"person_id"}.intersection(table.columns.keys()):
                assert me not in list(db.scalars(sa.select(table.c[column]))), table
    assert services.accounts.find("me@example.com") is None


def test_an_account_whose_storage_is_away_ends_when_it_is_back(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.accounts.add("boss@example.com", password="correct horse battery", is_admin=True)
    me = str(services.accounts.add("me@example.com").id)
    begun = MultipartUploads(services.store, services.storage)
    begun.begin("me.mp4", 1_000_000, MP4, person_id=me)
    upload = services.store.add_upload(replace(an_upload(), person_id=me))
    with monkeypatch.context() as away:

        def fail(*_: object) -> None:
            raise StorageUnavailable("The storage is away.")

        for method in ("delete", "delete_prefix"):
            away.setattr(type(services.storage), method, fail)
        away.setattr(type(services.storage.multipart), "abort", fail)
        Deleter(services).account(me)

    with pytest.raises(UnknownUpload):
        services.store.upload(upload.id)
    with pytest.raises(Refused, match="is being deleted"):
        services.accounts.enable(me)
    Deleter(services).finish()
    assert services.accounts.get(me).disabled_at, "it was tried a moment ago"
    _let_accounts_wait(services)
    Deleter(services).finish()

    with pytest.raises(UnknownPerson):
        services.accounts.get(me)
    assert begun.of_person(me) == []


def _let_accounts_wait(services: Services) -> None:
    """Have those who delete accounts be dead for a minute."""
    with services.store.engine.begin() as db:
        db.execute(people.update().values(ends_at=people.c.ends_at - END_AGAIN_S))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def deployment(request: pytest.FixtureRequest, services: Services) -> Iterator[Services]:
    """The services over each kind of database."""
    if request.param == "sqlite":
        yield services
        return
    store = JobStore(str(request.getfixturevalue("postgres_url")))
    yield replace(services, store=store)
    store.close()


def test_nothing_that_somebody_adds_outlives_the_account(deployment: Services) -> None:
    """Uploads end, jobs and keys are made, and people sign in while an account is deleted."""
    store = deployment.store
    deployment.accounts.add("boss@example.com", password="correct horse battery", is_admin=True)
    person = deployment.accounts.add("ada@example.com")
    ada = str(person.id)
    mine = store.add_upload(replace(an_upload(), person_id=ada))
    request = JobRequest(upload_id=mine.id, clips=("0-1",))
    adds: list[Callable[[], object]] = [
        lambda: store.add_job(plan_job(mine, request)),
        lambda: store.add_upload(replace(an_upload(), person_id=ada)),
        lambda: deployment.api_keys.add(ada, "a program"),
        lambda: deployment.sessions.begin(person),
    ]

    def add_until_refused(add: Callable[[], object]) -> str:
        until = time.monotonic() + 60.0
        while time.monotonic() < until:
            try:
                add()
            except (AccountGone, UnknownUpload) as error:
                return type(error).__name__
            except (Refused, TooManySteps):  # so many are enough
                pass
        return "never refused"

    with ThreadPoolExecutor() as pool:
        ends = [pool.submit(add_until_refused, add) for add in adds for _ in range(2)]
        wait_for(lambda: len(Deletions(store).of_person(ada)[0]) > 3, what="some uploads are there")
        Deleter(deployment).account(ada)
        told = {end.result() for end in ends}

    assert told == {"AccountGone", "UnknownUpload"}
    assert Deletions(store).of_person(ada) == ([], [])
    assert deployment.api_keys.of(ada) == []
    with pytest.raises(UnknownPerson):
        deployment.accounts.get(ada)


def has_made(services: Services, folder: Path, person_id: str) -> Job:
    """A job of a person's own upload that is done, with what was stored of both."""
    job = done_job(services, folder, "0-1")
    with services.store.engine.begin() as db:
        own = uploads.c.id == job.upload.id
        db.execute(uploads.update().where(own).values(person_id=person_id))
        db.execute(jobs.update().where(jobs.c.id == job.id).values(person_id=person_id))
    return services.store.job(job.id)


def test_the_last_administrator_keeps_all_when_their_deletion_is_refused(
    services: Services, tmp_path: Path
) -> None:
    accounts = services.accounts
    boss = accounts.add("boss@example.com", password="correct horse battery", is_admin=True)
    job = has_made(services, tmp_path, str(boss.id))
    token, (_, key) = services.sessions.begin(boss), services.api_keys.add(str(boss.id), "a")
    hook, _ = Hooks(services.store.engine).add(str(boss.id), "https://example.com/")
    before = kept(services)

    with pytest.raises(LastAdministrator):
        Deleter(services).account(str(boss.id))
    Deleter(services).finish()

    assert services.store.job(job.id, str(boss.id)) == job
    assert services.store.upload(job.upload.id, str(boss.id)) == job.upload
    assert kept(services) == before
    assert Hooks(services.store.engine).of(str(boss.id)) == [hook]
    assert accounts.get(str(boss.id)).disabled_at is None
    assert services.sessions.person(token) == services.api_keys.person(key) == boss


def test_nobody_enables_an_account_in_mid_deletion_and_nothing_comes(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.accounts.add("boss@example.com", password="correct horse battery", is_admin=True)
    ada = str(services.accounts.add("ada@example.com").id)
    first, tried = has_made(services, tmp_path, ada), []
    really = services.storage.delete_prefix

    def delete_prefix(prefix: str) -> None:
        really(prefix)
        tried.append(prefix)
        with pytest.raises(Refused, match="is being deleted"):
            services.accounts.enable(ada)
        with pytest.raises(AccountGone):
            services.store.add_upload(replace(an_upload(), person_id=ada))
        with pytest.raises(AccountGone):
            services.api_keys.add(ada, "a program")

    monkeypatch.setattr(services.storage, "delete_prefix", delete_prefix)

    Deleter(services).account(ada)

    assert tried
    with pytest.raises(UnknownJob):
        services.store.job(first.id)
    assert kept(services) == []
    with pytest.raises(UnknownPerson):
        services.accounts.get(ada)


def test_an_account_ends_after_those_who_add_something_now(postgres_url: str) -> None:
    """SQLite has one writer at a time anyway."""
    store = JobStore(postgres_url)
    ada = str(Accounts(store.engine).add("ada@example.com").id)
    with store.engine.begin() as adding, store.engine.begin() as another:
        require_account(adding, ada)
        require_account(another, ada)

        with (
            pytest.raises(sa.exc.OperationalError, match="lock timeout"),
            store.engine.begin() as db,
        ):
            db.exec_driver_sql("set local lock_timeout = '50ms'")
            db.execute(people.update().values(disabled_at=0.0))

    Accounts(store.engine).disable(ada)
    store.close()


def test_an_upload_that_is_used_again_does_not_expire(services: Services, tmp_path: Path) -> None:
    job = done_job(services, tmp_path, "0-1")
    with pytest.raises(UnknownUpload):
        Deleter(services).upload(job.upload.id, if_unused=True)
    assert services.store.job(job.id) == job


def test_what_is_stored_after_its_job_was_deleted_is_deleted_too(
    services: Services, tmp_path: Path
) -> None:
    job = done_job(services, tmp_path, "0-1")
    deleter = Deleter(services)
    deleter.job(job.id)
    late = output_key(job.id, job.steps[0].id, job.steps[0].name)
    put(services, late, tmp_path)

    deleter.sweep()

    assert late not in kept(services)
    assert list(Deletions(services.store).recent()) != [], "more may come for a day"
    with services.store.engine.begin() as db:
        db.execute(deletions.update().values(deleted_at=0.0))
    deleter.sweep()
    assert list(Deletions(services.store).recent()) == []


def test_what_can_not_be_deleted_now_is_noted_until_it_is(
    tmp_path: Path, small_disks: Callable[[Path, int], SmallDisk]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    disk = small_disks(data / "files", 5)
    services = Services.open(
        Settings.from_env({"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(data)})
    )
    job, notes = done_job(services, tmp_path, "0-1"), Deletions(services.store)
    deleter = Deleter(services)
    before = kept(services)

    disk.remount("ro")
    deleter.upload(job.upload.id)
    with services.store.engine.begin() as db:
        db.execute(deletions.update().values(deleted_at=0.0))  # for more than a day
    deleter.sweep()
    assert kept(services) == before
    assert [each.id for each in notes.pending()] == [job.upload.id]

    disk.remount("rw")
    deleter.finish()
    assert kept(services) == []
    assert notes.pending() == []
    services.store.close()


def test_nothing_of_a_deleted_job_is_sent(services: Services, tmp_path: Path) -> None:
    upload = add_upload(services.store)
    job = services.store.add_job(
        plan_job(upload, JobRequest(upload_id=upload.id, clips=("0-1", "1-2")))
    )
    claims = Claims(services.store, "me")
    claimed = claims.claim(job.steps[0].id, "redis")
    assert isinstance(claimed, Claimed)

    Deleter(services).job(job.id)

    assert Backlog(services.store).waiting(0.0) == []
    assert not claims.finish(claimed.step, Output("key", 1, "video/mp4"))
    with pytest.raises(UnknownJob):
        claims.claim(job.steps[1].id, "redis")


#: Deletes an upload, and dies by SIGKILL at a line of its own.
DIE = """
import os, signal, sys
from cutmv.config import Settings
from cutmv.services import Services
from cutmv.dispatch import Deleter
import cutmv.dispatch.deleter, cutmv.jobs.deletions, cutmv.storage.local
modules = (cutmv.dispatch.deleter, cutmv.jobs.deletions, cutmv.storage.local)
ours = {module.__file__ for module in modules}
services = Services.open(Settings.from_env())
left = int(sys.argv[2])
def trace(frame, event, _):
    global left
    if frame.f_code.co_filename not in ours:
        return None
    if event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
sys.settrace(trace)
getattr(Deleter(services), sys.argv[3])(sys.argv[1])
"""


@pytest.mark.slow
def test_whoever_dies_while_deleting_leaves_it_to_the_next(
    services: Services, tmp_path: Path
) -> None:
    deaths = lines = 0
    environment = {
        **os.environ,
        "CUTMV_MODE": "eager",
        "CUTMV_DATA_DIR": str(services.settings.data_dir),
    }
    while True:
        job = done_job(services, tmp_path, "0-1")
        lines += 17
        argv = [sys.executable, "-c", DIE, job.upload.id, str(lines), "upload"]
        ended = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        deaths += 1

        Deleter(services).finish()

        try:
            services.store.job(job.id)
        except UnknownJob:
            assert kept(services) == [], lines
        else:  # nothing was begun
            assert len(kept(services)) == 3, lines
            Deleter(services).upload(job.upload.id)
    assert deaths > 3


@pytest.mark.slow
def test_whoever_dies_while_deleting_an_account_leaves_it_to_the_next(
    services: Services, tmp_path: Path
) -> None:
    services.accounts.add("boss@example.com", password="correct horse battery", is_admin=True)
    environment = {
        **os.environ,
        "CUTMV_MODE": "eager",
        "CUTMV_DATA_DIR": str(services.settings.data_dir),
    }
    deaths = lines = 0
    while True:
        me = str(services.accounts.add(f"me-{lines}@example.com").id)
        job = done_job(services, tmp_path, "0-1")
        with services.store.engine.begin() as db:
            own = uploads.c.id == job.upload.id
            db.execute(uploads.update().where(own).values(person_id=me))
            db.execute(jobs.update().where(jobs.c.id == job.id).values(person_id=me))
        lines += 17
        argv = [sys.executable, "-c", DIE, me, str(lines), "account"]
        ended = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        deaths += 1
        _let_accounts_wait(services)

        Deleter(services).finish()

        if services.accounts.find(f"me-{lines - 17}@example.com"):  # nothing was begun
            assert services.store.job(job.id) and deaths < 3
            Deleter(services).account(me)
        assert kept(services) == [], lines
        with pytest.raises(UnknownJob):
            services.store.job(job.id)
    assert deaths > 3


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=60.0, size=(1280, 720))


def in_bucket(url: str) -> set[str]:
    """The keys of uploads and outputs that the S3 server has."""
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = {each["Key"] for page in pages for each in page.get("Contents", [])}
    return {key for key in keys if key.startswith(("uploads/", "jobs/"))}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "redis"])
def test_a_running_job_that_is_deleted_stops_and_leaves_nothing(
    make_stack: Callable[[str], Stack], request: pytest.FixtureRequest, mode: str, video: Path
) -> None:
    stack = make_stack(mode)
    if mode == "redis":
        on_r2(stack, request.getfixturevalue("s3_url"))
        before = in_bucket(request.getfixturevalue("s3_url"))
        stack.start_worker()
    stack.start_web()
    upload = wait_for(lambda: uploaded(stack, video), 60.0, "the upload is kept")
    results = []
    if mode == "redis":  # a job that is done has results of Celery's
        done = stack.submit(upload_id=upload["id"], clips=["0-1"], aspects=[], still=True)
        [step] = stack.ended(done["id"])["steps"]
        wait_for(lambda: known_results(stack) == [step["id"]], what="Celery has its result")
        results = known_results(stack)
    job = stack.submit(upload_id=upload["id"], clips=["0-50"], aspects=["9:16"], gif=True)
    running = lambda: "running" in {step["state"] for step in stack.job(job["id"])["steps"]}  # noqa: E731
    wait_for(running, 60 * slowness(), stack.logs)

    cache = stack.folder / "data" / "cache"
    cached = lambda: list(cache.glob("*/*"))  # noqa: E731
    assert bool(cached()) == bool(results) == (mode == "redis")
    assert httpx.delete(f"{stack.url}/api/uploads/{upload['id']}", timeout=30).status_code == 204

    for path in (f"/api/jobs/{job['id']}", f"/api/uploads/{upload['id']}", upload["url"]):
        assert httpx.get(stack.url + path, timeout=30).status_code == 404, path
    work = stack.folder / "data" / "work"
    wait_for(lambda: not any(work.iterdir()), 30 * slowness(), f"it stops\n{stack.logs}")
    assert outputs(stack) == []
    if mode == "redis":
        assert in_bucket(request.getfixturevalue("s3_url")) == before
        # That of the step which ran may come late; the sweep deletes it.
        assert not {*results} & {*known_results(stack)}
        assert cached() == []


def uploaded(stack: Stack, video: Path) -> dict[str, object] | None:
    """The upload; None where the janitor's first sweep has ended it on its way.

    This S3 server tells of all multipart uploads that they began in 2010.
    """
    try:
        return stack.upload(video)
    except AssertionError as refused:
        if "The storage does not answer" not in str(refused):
            raise
        return None


def known_results(stack: Stack) -> list[str]:
    """The tasks of which Celery's result backend on Redis knows a result."""
    import redis

    prefix = "celery-task-meta-"
    with redis.Redis.from_url(stack.env["REDIS_URL"], decode_responses=True) as client:
        return [str(key).removeprefix(prefix) for key in client.keys(f"{prefix}*")]


def test_the_command_deletes_without_a_server(services: Services, tmp_path: Path) -> None:
    job = done_job(services, tmp_path, "0-1", "1-2")
    env = {**os.environ, "CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(services.settings.data_dir)}

    def cutmv(*argv: str) -> tuple[int, str]:
        ended = run_python("-m", "cutmv", "delete", *argv, env=env)
        return ended.returncode, ended.stdout + ended.stderr

    assert cutmv("output", job.id, job.steps[0].name, "--yes") == (0, "Deleted.\n")
    assert len([key for key in kept(services) if key.startswith("jobs/")]) == 1
    assert cutmv("upload", job.upload.id, "--yes") == (0, "Deleted.\n")
    assert kept(services) == []
    code, told = cutmv("job", job.id, "--yes")
    assert code == 1 and told.startswith("Error: There is no job") and told.count("\n") == 1
