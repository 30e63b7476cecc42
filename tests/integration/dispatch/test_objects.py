"""Objects that others put into the bucket: uploads and jobs, once, and gone with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from cutmv.config import IncomingObjects, Settings
from cutmv.dispatch import Deleter, Dispatcher, Janitor
from cutmv.dispatch.objects import alignment, wishes
from cutmv.dispatch.objects.alignment import Mendable, Objects
from cutmv.dispatch.objects.task import NoEvent, key_of
from cutmv.dispatch.objects.wishes import NotAnalysed
from cutmv.jobs import (
    ANALYSIS,
    Deletions,
    DerivativeClaim,
    DerivativeState,
    Job,
    JobRequest,
    Record,
    Records,
    State,
    TooManySteps,
    UnknownJob,
    Upload,
    derivative_key,
    plan_job,
    require_stored,
    uploads_of_key,
)
from cutmv.jobs.tables import deletions
from cutmv.jobs.uploads import objects as accepting
from cutmv.media import Analysis, MediaError
from cutmv.people import Accounts
from cutmv.progress import ProgressFeed
from cutmv.services import Services
from cutmv.storage import ObjectNotFound
from tests.support.jobs import video_info
from tests.support.media import make_sample
from tests.support.objects import Bucket
from tests.support.s3 import BUCKET, KEY_ID, SECRET

#: The first bytes of an MP4.
HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"


class Killed(BaseException):
    """Stands for the end of the process."""


class Site:
    """A deployment on an S3 server, a folder of it, and what was sent to its broker."""

    def __init__(self, services: Services, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        self.services, self.bucket, self.folder = services, bucket, f"incoming-{uuid4().hex}/"
        self.set()
        self.sent: list[str] = []
        self.seconds = 60.0
        monkeypatch.setattr(accepting, "probe_stored", lambda *_: video_info(self.seconds))
        monkeypatch.setattr(
            alignment, "publish", lambda _settings, job, *_: self.sent.append(job.id)
        )

    def set(self, **incoming: str) -> None:
        """Change the settings of objects of others."""
        told = IncomingObjects(prefix=self.folder, **incoming)
        settings = replace(self.services.settings, incoming=told)
        self.services = replace(self.services, settings=settings)

    def put(self, name: str, content: bytes = HEAD) -> str:
        """Put an object; return its key."""
        self.bucket.put(self.folder + name, content)
        return self.folder + name

    def take(self, key: str) -> Upload | None:
        """Do what the task does of a message about a key."""
        objects = Objects(self.services)
        upload = objects.align(key)
        if upload:
            objects.have_job_made(upload)
        return upload

    def analysed(self, upload: Upload, record: Record[Analysis]) -> None:
        """Have a worker make an analysis, or fail to."""
        services = self.services
        claim = DerivativeClaim.take(services.store, services.storage, ANALYSIS, upload)
        assert claim is not None
        Records(services.storage, ANALYSIS).keep(upload, record)
        claim.end()

    def taken(self, key: str) -> Upload:
        """The same, where there is an upload."""
        upload = self.take(key)
        assert upload is not None
        return upload

    def jobs(self) -> list[Job]:
        """The jobs of its objects."""
        every = self.services.store.jobs(100)
        return [job for job in every if job.upload.key.startswith(self.folder)]


@pytest.fixture(scope="module")
def services(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    env = {
        "CUTMV_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "CLOUDFLARE_ACCOUNT_ID": "acc",
        "CLOUDFLARE_API_TOKEN": "tok",
        "R2_ACCESS_KEY_ID": KEY_ID,
        "R2_SECRET_ACCESS_KEY": SECRET,
        "R2_BUCKET": BUCKET,
        "R2_ENDPOINT_URL": s3_url,
        "CUTMV_INCOMING_PREFIX": "incoming/",
    }
    services = Services.open(Settings.from_env(env))
    yield services
    services.store.close()


@pytest.fixture(scope="module")
def bucket(s3_url: str) -> Bucket:
    return Bucket(s3_url)


@pytest.fixture
def site(services: Services, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(services, bucket, monkeypatch)
    yield site
    for job in services.store.jobs(100):  # else others' would wait for their turns
        services.store.cancel(job.id)


def test_an_object_is_one_upload_however_often_it_is_told_of(site: Site) -> None:
    key = site.put("day 1/café.mp4")

    first, again = site.take(key), site.take(key)

    assert first is not None
    assert first == again
    assert (first.key, first.filename, first.size) == (key, "café.mp4", len(HEAD))
    assert first.person_id is None
    assert site.jobs() == []
    require_stored(site.services.storage, first)


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "The file is empty."), (b"no video" * 100, "no video")]
)
def test_what_is_no_video_leaves_one_line(
    site: Site, caplog: pytest.LogCaptureFixture, content: bytes, why: str
) -> None:
    with caplog.at_level(logging.INFO):
        assert site.take(site.put("x.mp4", content)) is None

    told = [record.getMessage() for record in caplog.records if record.name.startswith("cutmv")]
    assert len(told) == 1
    assert "x.mp4 is no upload: " in told[0]
    assert why in told[0]
    assert site.bucket.keys(site.folder) == [f"{site.folder}x.mp4"], "it stays its owner's"


def test_what_is_larger_than_uploads_may_be_is_none(site: Site) -> None:
    site.services = replace(
        site.services, settings=replace(site.services.settings, max_upload_bytes=5)
    )

    assert site.take(site.put("x.mp4")) is None


def test_an_object_that_is_gone_takes_its_upload_and_its_jobs_along(site: Site) -> None:
    upload = site.taken(site.put("reels/x.mp4"))
    [job] = site.jobs()
    site.bucket.delete(upload.key)

    assert site.take(upload.key) is None

    assert uploads_of_key(site.services.store, upload.key) == []
    with pytest.raises(UnknownJob):
        site.services.store.job(job.id)


def test_a_deletion_that_is_told_of_before_its_put_leaves_nothing(site: Site) -> None:
    key = site.put("x.mp4")
    site.bucket.delete(key)

    assert [site.take(key), site.take(key)] == [None, None]


def test_an_object_that_goes_while_it_is_looked_at_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = site.put("x.mp4")

    def probe(*_: object) -> Any:
        site.bucket.delete(key)
        return video_info()

    monkeypatch.setattr(accepting, "probe_stored", probe)

    assert site.take(key) is None
    assert uploads_of_key(site.services.store, key) == []


def test_an_object_that_is_replaced_while_it_is_looked_at_is_the_new_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = site.put("x.mp4")
    looks: list[int] = []

    def probe(*_: object) -> Any:
        looks.append(1)
        if len(looks) == 1:
            site.put("x.mp4", HEAD + b"new")
        return video_info()

    monkeypatch.setattr(accepting, "probe_stored", probe)

    upload = site.taken(key)

    assert upload.size == len(HEAD) + 3
    assert uploads_of_key(site.services.store, key) == [upload.id]
    assert site.bucket.keys(site.folder) == [key]


def test_an_object_in_another_s_place_is_another_upload_and_old_jobs_keep_theirs(
    site: Site,
) -> None:
    unused, used = site.put("x.mp4"), site.put("reels/x.mp4")
    first = [site.taken(key) for key in (unused, used)]
    for name in ("x.mp4", "reels/x.mp4"):
        site.put(name, HEAD + b"new")

    second = [site.taken(key) for key in (unused, used)]

    assert uploads_of_key(site.services.store, unused) == [second[0].id]
    assert set(uploads_of_key(site.services.store, used)) == {first[1].id, second[1].id}
    assert len(site.jobs()) == 2
    with pytest.raises(MediaError, match="was replaced"):
        require_stored(site.services.storage, first[1])
    Dispatcher(site.services, ProgressFeed()).deleter.upload(first[1].id)
    assert used in site.bucket.keys(site.folder), "the new one is there"


def test_a_replacement_of_the_same_size_is_noticed(site: Site) -> None:
    upload = site.taken(site.put("reels/x.mp4", HEAD + b"a"))
    site.put("reels/x.mp4", HEAD + b"b")

    with pytest.raises(MediaError, match="was replaced"):
        require_stored(site.services.storage, upload)


def test_an_upload_that_is_deleted_takes_its_object_along_and_nothing_beside_it(
    site: Site,
) -> None:
    other = site.put("y.mp4")
    upload = site.taken(site.put("x.mp4"))
    Records(site.services.storage, ANALYSIS).keep(upload, Record(DerivativeState.QUEUED))

    Dispatcher(site.services, ProgressFeed()).deleter.upload(upload.id)

    assert site.bucket.keys(site.folder) == [other]
    assert site.bucket.keys(f"uploads/{upload.id}/") == []
    assert site.take(upload.key) is None


def test_what_is_put_again_after_its_deletion_stays(site: Site) -> None:
    upload = site.taken(site.put("x.mp4"))
    dispatcher = Dispatcher(site.services, ProgressFeed())
    dispatcher.deleter.upload(upload.id)
    again = site.taken(site.put("x.mp4"))
    Records(site.services.storage, ANALYSIS).keep(again, Record(DerivativeState.QUEUED))

    dispatcher.deleter.sweep()

    assert again.id == upload.id
    assert site.bucket.keys(site.folder) == [again.key]
    assert site.bucket.keys(f"uploads/{again.id}/") == [derivative_key(again, "analysis")]


def test_a_deletion_on_its_way_is_not_undone_by_a_message(site: Site) -> None:
    upload = site.taken(site.put("x.mp4"))
    Deletions(site.services.store).upload(upload.id)  # and its process is gone

    assert site.take(upload.key) is None

    Dispatcher(site.services, ProgressFeed()).deleter.finish()
    assert site.bucket.keys(site.folder) == []


def test_sweeps_leave_objects_of_others_and_what_is_made_of_uploads_of_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = site.put("notes.mp4", b"no video")
    upload = site.taken(site.put("x.mp4"))
    Records(site.services.storage, ANALYSIS).keep(upload, Record(DerivativeState.QUEUED))
    later = time.time() + 86_400 * 3
    monkeypatch.setattr("cutmv.dispatch.janitor.time.time", lambda: later)

    Janitor(Dispatcher(site.services, ProgressFeed()))._sweep_uploads()

    assert set(site.bucket.keys(site.folder)) == {stranger, upload.key}
    assert site.bucket.keys(f"uploads/{upload.id}/") == [derivative_key(upload, "analysis")]


def test_an_expired_upload_goes_with_its_object(site: Site) -> None:
    upload = site.taken(site.put("x.mp4"))
    settings = replace(site.services.settings, retention_days=0)
    expired = replace(site.services, settings=settings)
    time.sleep(0.01)

    Janitor(Dispatcher(expired, ProgressFeed()))._sweep_uploads()

    assert site.bucket.keys(site.folder) == []
    assert site.take(upload.key) is None


def test_the_owner_has_the_uploads_and_none_is_made_without_the_account(site: Site) -> None:
    site.set(owner="ann@example.com")
    key = site.put("reels/x.mp4")
    with pytest.raises(Mendable, match=r"CUTMV_INCOMING_OWNER is ann@example\.com"):
        site.take(key)
    accounts = Accounts(site.services.store.engine)
    ann = accounts.add("ann@example.com", password="correct horse battery")

    assert site.taken(key).person_id == ann.id
    assert site.jobs()[0].person_id == ann.id


# Jobs.


def _clips(site: Site) -> list[tuple[str, str]]:
    [job] = site.jobs()
    return [(step.clip, step.spec.preset or step.spec.aspect) for step in job.steps]


def test_a_preset_s_folder_makes_one_job_of_the_whole_video(site: Site) -> None:
    key = site.put("reels/2026/x.mp4")

    for _ in range(2):
        site.take(key)

    assert _clips(site) == [("0-end", "reels")]
    assert site.sent == [site.jobs()[0].id], "its steps are sent once"


def test_other_folders_have_the_deployment_s_preset(site: Site) -> None:
    site.set(preset="youtube")

    site.take(site.put("DCIM/x.mp4"))

    assert _clips(site) == [("0-end", "youtube")]


def test_a_wrong_preset_is_told_and_can_be_mended(site: Site) -> None:
    site.set(preset="utube")

    with pytest.raises(Mendable, match="CUTMV_INCOMING_PRESET is wrong: There is no preset"):
        site.take(site.put("x.mp4"))


def test_a_list_beside_the_video_says_what_is_cut(site: Site) -> None:
    site.put("x.csv", b"start,end,label\n0:01,0:02,Intro\n0:05,0:09,Verse\n")
    site.put("reels/x.txt", b"0:03-0:04 Chorus\n")
    site.take(site.put("x.mp4"))
    assert [step.name for step in site.jobs()[0].steps] == [
        "x-Intro-source.mp4",
        "x-Verse-source.mp4",
    ]

    site.take(site.put("reels/x.mp4"))

    assert [step.name for step in site.jobs()[0].steps] == ["x-Chorus-reels.mp4"]


@pytest.mark.parametrize("content", [b"nonsense\n", b"\xff\xfe\x00", b"x" * 300_000])
def test_a_list_that_can_t_be_read_makes_no_job_and_says_so(
    site: Site, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    site.put("reels/x.txt", content)

    upload = site.taken(site.put("reels/x.mp4"))

    assert site.jobs() == []
    assert f"object {upload.key} makes no job: " in caplog.text


def test_a_video_too_long_for_a_preset_is_cut_into_the_suggested_clips(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.seconds = 600.0
    asked: list[str] = []
    monkeypatch.setattr(
        wishes, "publish_derivative", lambda _settings, _kind, upload: asked.append(upload.id)
    )
    key = site.put("reels/x.mp4")
    for _ in range(2):
        with pytest.raises(NotAnalysed):
            site.take(key)
    [upload_id] = asked
    upload = site.services.store.upload(upload_id)
    halves = tuple(place / 2 for place in range(1200))
    seen = Analysis(600.0, 30.0, 0.0, 600.0, (), (), (1.0,) * 1200, halves, sound=False)
    site.analysed(upload, Record(DerivativeState.DONE, found=seen))

    site.take(key)

    [job] = site.jobs()
    assert len(job.steps) == 10
    assert {step.spec.preset for step in job.steps} == {"reels"}
    assert all(14 < step.end_s - step.start_s <= 15 for step in job.steps)


def test_an_analysis_that_is_given_up_makes_no_job(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.seconds = 600.0
    monkeypatch.setattr(wishes, "publish_derivative", lambda *_: None)
    key = site.put("reels/x.mp4")
    with pytest.raises(NotAnalysed):
        site.take(key)
    upload = site.services.store.upload(uploads_of_key(site.services.store, key)[0])
    site.analysed(upload, Record(DerivativeState.FAILED, error="It was lost with its worker."))

    site.take(key)

    assert "makes no job: It was lost" in caplog.text


def test_a_job_that_a_person_has_deleted_does_not_come_back(site: Site) -> None:
    key = site.put("reels/x.mp4")
    site.take(key)
    Dispatcher(site.services, ProgressFeed()).deleter.job(site.jobs()[0].id)

    site.take(key)

    assert site.jobs() == []


def test_a_job_waits_while_its_owner_has_too_much(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(site.services.store.limits, waiting_steps=1)
    monkeypatch.setattr(site.services.store, "limits", limits)
    other = site.taken(site.put("y.mp4"))
    request = JobRequest(upload_id=other.id, clips=("1-2",))
    site.services.store.add_job(plan_job(other, request))

    with pytest.raises(TooManySteps):
        site.take(site.put("reels/x.mp4"))


@pytest.mark.parametrize(
    ("where", "name", "is_made"),
    [
        (where, name, made)
        for where, name in (
            ("store", "add_upload"),
            ("store", "add_job"),
            ("alignment", "publish"),
            ("backlog", "sent"),
        )
        for made in (False, True)
    ],
)
def test_whoever_dies_at_any_point_leaves_one_upload_and_one_job_to_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch, where: str, name: str, is_made: bool
) -> None:
    key = site.put("reels/x.mp4")
    owner = {"store": type(site.services.store), "backlog": alignment.Backlog}.get(where, alignment)
    function: Callable[..., Any] = getattr(owner, name)

    def die(*args: Any, **kwargs: Any) -> None:
        if is_made:
            function(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(owner, name, die)
        with pytest.raises(Killed):
            site.take(key)

    upload = site.taken(key)

    [job] = site.jobs()
    assert uploads_of_key(site.services.store, key) == [upload.id]
    assert (job.state, job.route) == (State.QUEUED, "cloudflare")
    assert set(site.sent) == {job.id}


# Messages.


def test_only_objects_in_the_folder_are_taken() -> None:
    settings: Any = SimpleNamespace(r2_bucket="b", incoming=IncomingObjects(prefix="incoming/"))

    def told(key: Any, bucket: str = "b") -> dict[str, Any]:
        return {"action": "PutObject", "bucket": bucket, "object": {"key": key}}

    assert key_of(settings, told("incoming/x.mp4")) == "incoming/x.mp4"
    assert key_of(settings, '{"bucket": "b", "object": {"key": "incoming/y"}}') == "incoming/y"
    for other in (
        told("uploads/x/source"),
        told("incoming/x.mp4", "other"),
        told("incoming/folder/"),
        told("incoming/x.TXT"),
        told("incoming/a\nb.mp4"),
    ):
        assert key_of(settings, other) is None
    for wrong in ({}, [], None, "text", 3, told(None), told(""), told("incoming/\ud800")):
        with pytest.raises(NoEvent):
            key_of(settings, wrong)


def test_a_real_video_is_looked_at_where_it_lies(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(alignment, "publish", lambda *_: None)
    video = make_sample(tmp_path / "song.mp4", seconds=1.0, size=(160, 90))

    upload = site.taken(site.put("master/day 1/né+%20&?.mp4", video.read_bytes()))

    assert upload.content_type == "video/mp4"
    assert upload.info.duration_s == pytest.approx(1.0, abs=0.1)
    assert _clips(site) == [("0-end", "master")]
    with pytest.raises(ObjectNotFound):
        site.services.storage.stat(f"uploads/{upload.id}/source")


def test_a_deletion_of_an_earlier_version_is_read(site: Site) -> None:
    with site.services.store.engine.begin() as db:
        what = {"prefixes": ["jobs/x/"], "sources": [], "results": []}
        db.execute(sa.insert(deletions).values(id="x", what=what, deleted_at=time.time()))

    [found] = [each for each in Deletions(site.services.store).pending() if each.id == "x"]

    assert (found.prefixes, found.object) == (("jobs/x/",), "")


def test_what_is_put_back_while_its_upload_is_deleted_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = site.taken(site.put("x.mp4"))
    site.bucket.delete(upload.key)
    delete = Deleter.upload

    def put_back(self: Deleter, *args: Any, **kwargs: Any) -> None:
        site.put("x.mp4")
        delete(self, *args, **kwargs)

    monkeypatch.setattr(Deleter, "upload", put_back)

    again = site.taken(upload.key)

    assert again.id == upload.id
    assert site.bucket.keys(site.folder) == [upload.key]


def test_a_sweep_leaves_what_was_put_back_and_not_told_of_yet(site: Site) -> None:
    upload = site.taken(site.put("x.mp4"))
    deleter = Deleter(site.services)
    deleter.upload(upload.id)
    site.put("x.mp4")

    deleter.sweep()

    assert site.bucket.keys(site.folder) == [upload.key]
