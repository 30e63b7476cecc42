"""A row that can't be read is shown as such, and keeps nobody else from anything."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from cutmv.config import Settings
from cutmv.dispatch.janitor import Janitor
from cutmv.jobs import (
    ANALYSIS,
    PROXY,
    UNREAD,
    Backlog,
    Claimed,
    Claims,
    Costs,
    Deliveries,
    Derivatives,
    Ended,
    Hooks,
    Job,
    JobStore,
    Output,
    Parts,
    Records,
    Shares,
    State,
    UnknownUpload,
    derivative_key,
)
from cutmv.jobs.tables import costs, jobs, steps, uploads
from cutmv.media import MediaError
from cutmv.services import Services
from cutmv.web import create_app
from cutmv.web.state import web_of
from cutmv.worker.step import StepRun
from tests.support.jobs import add_job

#: What may stand in a column, as SQL: of a damaged disk, another version, a person's hand.
BAD_STEPS = {
    "broken JSON": ("spec", "'{\"kind\": '"),
    "deep JSON": ("spec", "'" + "[" * 100_000 + "'"),
    "another JSON": ("spec", "'[1, 2]'"),
    "unknown kind": ("spec", '\'{"kind": "hologram", "aspect": "source", "fit": "crop"}\''),
    "a newer version's field": (
        "spec",
        '\'{"kind": "gif", "aspect": "source", "fit": "crop", "smell": 1}\'',
    ),
    "unknown state": ("state", "'exploded'"),
    "text for a number": ("start_s", "'soon'"),
    "text for a count": ("attempts", "'often'"),
    "bytes for text": ("clip", "x'ff00'"),
    "infinite": ("end_s", "9e999"),
    "output without a size": ("output_key", "'jobs/x/y/z.mp4'"),
    "broken part": ("part", '\'["1/0", "x"]\''),
    "unknown division": ("division", "'thirds'"),
}
BAD_JOBS = {
    "unknown state": ("state", "'exploded'"),
    "text for a time": ("created_at", "'yesterday'"),
    "text for a start": ("started_at", "'then'"),
}
BAD_UPLOADS = {
    "broken JSON": ("info", "'{\"video\": '"),
    "another JSON": ("info", "'[]'"),
    "no fraction": (
        "info",
        '\'{"container":"mov","size_bytes":1,"duration_s":1,"start_s":0,"audio":null,'
        '"video":{"frame_rate":"1/0","time_base":"1"}}\'',
    ),
    "text for a size": ("size", "'large'"),
    "text for a time": ("created_at", "'yesterday'"),
    "no UTF-8": ("filename", "cast(x'fffe41' as text)"),
}
DAMAGE = [
    *((steps, *each, id) for id, each in BAD_STEPS.items()),
    *((jobs, *each, id) for id, each in BAD_JOBS.items()),
    *((uploads, *each, id) for id, each in BAD_UPLOADS.items()),
]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = Services.open(Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path / "data")}))
    yield services
    services.store.close()


@pytest.fixture
def client(services: Services) -> Iterator[FlaskClient]:
    app = create_app(services, addresses=["127.0.0.1"])
    yield app.test_client()
    web_of(app).close()


def damage(store: JobStore, table: sa.Table, column: str, value: str, job: Job) -> None:
    ids = {steps: job.steps[0].id, jobs: job.id, uploads: job.upload.id}
    with store.engine.begin() as db:
        db.exec_driver_sql(f"update {table} set {column} = {value} where id = '{ids[table]}'")


def answer(client: FlaskClient, path: str) -> Any:
    response = client.get(path)
    assert response.status_code == 200, response.text
    return response.get_json()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [pytest.param(*each[:3], id=f"{each[0].name}: {each[3]}") for each in DAMAGE],
)
def test_one_bad_row_stops_nobody_else(
    services: Services, client: FlaskClient, table: sa.Table, column: str, value: str
) -> None:
    store = services.store
    first, bad, last = (add_job(store, "0-1") for _ in range(3))
    damage(store, table, column, value, bad)
    janitor = Janitor(web_of(client.application).dispatcher)

    shown = answer(client, f"/api/jobs/{bad.id}")
    if table is steps:
        assert (shown["state"], shown["steps"][0]["state"]) == ("failed", "failed")
        assert "can't be read" in shown["steps"][0]["error"]
    elif table is jobs:
        assert shown["state"] == "failed"
        assert f"can't be read ({column})" in shown["error"]
    sent = [step.job_id for step in Backlog(store).waiting(0.0)]
    assert sent[0] == first.id and sent[-1] == last.id
    untimed = (table, column) == (jobs, "created_at")  # it has no turn until it is mended
    assert (bad.id in sent) is (table is not steps and not untimed)
    janitor.sweep()
    listed = {each["id"]: each["state"] for each in answer(client, "/api/jobs")["jobs"]}
    assert listed.keys() == {first.id, bad.id, last.id}
    assert (listed[first.id], listed[last.id]) == ("queued", "queued")
    metrics = client.get("/metrics").text
    assert 'cutmv_steps{state="queued"}' in metrics and "exploded" not in metrics
    assert client.post(f"/api/jobs/{bad.id}/cancel").status_code == 200
    with store.engine.begin() as db:
        for each in (jobs, uploads):
            db.execute(each.update().values(created_at=1.0))
    janitor.sweep()
    left = {each["id"] for each in answer(client, "/api/jobs")["jobs"]}
    assert left == {first.id, last.id}
    assert client.get(f"/api/jobs/{bad.id}").status_code == 404
    with pytest.raises(UnknownUpload):
        store.upload(bad.upload.id)


@pytest.mark.parametrize("kind", ["jobs", "uploads"])
def test_what_can_t_be_read_can_be_deleted(
    services: Services, client: FlaskClient, kind: str
) -> None:
    store = services.store
    bad, good = add_job(store, "0-1"), add_job(store, "0-1")
    for table, column, value in (
        (steps, "spec", "'['"),
        (jobs, "state", "'exploded'"),
        (uploads, "info", "'['"),
        (uploads, "key", "x'00'"),
    ):
        damage(store, table, column, value, bad)
    with store.engine.begin() as db:
        db.exec_driver_sql("insert into deletions (id, what, deleted_at) values ('x', '[', 1.0)")

    gone = client.delete(f"/api/{kind}/{bad.id if kind == 'jobs' else bad.upload.id}")

    assert gone.status_code == 204
    assert [each["id"] for each in answer(client, "/api/jobs")["jobs"]] == [good.id]
    Janitor(web_of(client.application).dispatcher).sweep()
    with store.reading() as db:
        assert db.exec_driver_sql("select id from deletions where id = 'x'").all() == []


@pytest.mark.parametrize("column", ["spec", "state", "start_s"])
def test_a_step_that_can_t_be_read_fails_and_the_others_of_its_job_go_on(
    services: Services, column: str
) -> None:
    store = services.store
    job = add_job(store, "0-1", "1-2")
    damage(store, steps, column, "'exploded'", job)

    claims = Claims(store, "somebody")
    ended, claimed = (claims.claim(step.id, "eager") for step in job.steps)

    assert isinstance(ended, Ended) and "can't be read" in (ended.step.error or "")
    assert isinstance(claimed, Claimed)
    assert claims.fail(claimed.step, "It was no good.")
    assert store.job(job.id).state is State.FAILED


def test_a_hundred_bad_rows_do_not_take_the_janitor_s_whole_turn(services: Services) -> None:
    store = services.store
    for _ in range(3):
        bad = add_job(store, *(f"{at}-{at + 1}" for at in range(40)))
        with store.engine.begin() as db:
            db.exec_driver_sql(f"update steps set spec = '[' where job_id = '{bad.id}'")
    good = add_job(store, "0-1")
    backlog = Backlog(store)

    found = [*backlog.to_send(0.0), *backlog.to_send(0.0)]

    assert [step.job_id for step in found] == [good.id]


def test_a_step_without_a_lease_is_taken_back(services: Services) -> None:
    store = services.store
    job = add_job(store, "0-1")
    assert isinstance(Claims(store, "a").claim(job.steps[0].id, "redis"), Claimed)
    with store.engine.begin() as db:
        db.execute(steps.update().values(lease_until=None))

    assert Backlog(store).reclaim() == [job.steps[0].id]


def test_what_can_t_be_read_of_an_upload_is_looked_at_again(services: Services) -> None:
    store = services.store
    job = add_job(store, "0-1")
    damage(store, uploads, "info", "'['", job)

    found = store.upload(job.upload.id)

    assert (found.outdated, found.info) == (True, UNREAD)
    assert store.renew_upload(found, job.upload.info) == store.upload(job.upload.id)


def test_a_part_that_can_t_be_read_has_its_step_made_whole(services: Services) -> None:
    store = services.store
    job = add_job(store, "0-1")
    claimed = Claims(store, "a").claim(job.steps[0].id, "redis")
    assert isinstance(claimed, Claimed)
    halves = [(job.steps[0].start_s, 0.5), (0.5, 1.0)]
    parts = Parts(store).divide(claimed.step, "a", halves, [1.0, 1.0])  # type: ignore[arg-type]
    with store.engine.begin() as db:
        db.exec_driver_sql(f"update steps set part = '[' where id = '{parts[0].id}'")

    due = Parts(store).settle()

    assert [(step.id, step.division) for step in due] == [(job.steps[0].id, "whole")]
    assert {part.id for part in Parts(store).needless()} == {part.id for part in parts}


def test_a_cost_that_can_t_be_read_is_left_out(services: Services) -> None:
    with services.store.engine.begin() as db:
        db.exec_driver_sql("insert into costs (kind, expected_s, seconds) values ('a', 'b', 'c')")
        db.execute(costs.insert().values(kind="a", expected_s=1.0, seconds=2.0))

    assert Costs(services.store).model()._multiples == {"a": [2.0]}


def test_a_record_of_an_analysis_that_can_t_be_read_is_none(
    services: Services, client: FlaskClient
) -> None:
    upload = add_job(services.store, "0-1").upload
    for text in (b"[]", b'{"state": "odd"}', b"{", b'{"state": "queued", "analysis": 7}'):
        services.storage.put_stream(
            derivative_key(upload, "analysis"),
            io.BytesIO(text),
            content_type="application/json",
            max_bytes=100,
        )
        assert Records(services.storage, ANALYSIS).of(upload) is None


def damaged(store: JobStore, statement: str, *values: object) -> None:
    """Change rows as a hand in the database does, which no rule keeps from it."""
    with store.engine.connect() as db:
        db.exec_driver_sql("commit")
        db.exec_driver_sql("pragma foreign_keys = off")
        db.exec_driver_sql(statement, values)
        db.exec_driver_sql("pragma foreign_keys = on")


@pytest.mark.parametrize("attempts", ["nonsense", 2**63 - 1, b"\xff\0"])
def test_a_message_that_can_t_be_read_fails_and_others_are_sent(
    services: Services, client: FlaskClient, attempts: object
) -> None:
    known, messages = Hooks(services.store.engine), Deliveries(services.store.engine)
    (bad, _), (good, _) = (known.add(None, "https://example.com/hook") for _ in range(2))
    first, second = messages.add_test(bad), messages.add_test(good)
    statement = "update hook_deliveries set attempts = ? where id = ?"
    damaged(services.store, statement, attempts, first)

    due = messages.due()

    assert [each.id for each in due] == [second] and messages.claim(due[0])
    (shown,) = answer(client, f"/api/webhooks/{bad.id}/deliveries")["deliveries"]
    why = "The row of this message can't be read (attempts)."
    assert (shown["state"], shown["answer"]) == ("failed", why)
    assert why in client.get("/webhooks").text.replace("&#39;", "'")
    damaged(services.store, statement, 1, first)
    assert messages.of(bad)[0].state == "failed", "it was noted"


@pytest.mark.parametrize("until", ["nonsense", None, b"\xff\0"])
def test_a_webhook_that_can_t_be_read_is_shown_as_disabled_and_can_be_deleted(
    services: Services, client: FlaskClient, until: object
) -> None:
    known, messages = Hooks(services.store.engine), Deliveries(services.store.engine)
    (bad, _), (good, _) = (known.add(None, "https://example.com/hook") for _ in range(2))
    messages.add_test(bad), messages.add_test(good)
    statement = "update hooks set old_secret = 'x', old_until = ? where id = ?"
    damaged(services.store, statement, until, bad.id)

    assert [each.hook.id for each in messages.due()] == [good.id]
    shown = {each["id"]: each for each in answer(client, "/api/webhooks")["webhooks"]}
    why = "The row of this webhook can't be read (old_until): delete it, and add another."
    assert not shown[bad.id]["enabled"] and shown[bad.id]["disabled_why"] == why
    assert shown[good.id]["enabled"]
    (failed,) = messages.of(known.get(None, bad.id))
    assert (failed.state, failed.answer) == (
        "failed",
        "The row of this webhook can't be read (old_until).",
    )
    assert why in client.get("/webhooks").text.replace("&#39;", "'")
    assert client.delete(f"/api/webhooks/{bad.id}").status_code == 204
    assert [each.id for each in known.of(None)] == [good.id]


def test_a_job_whose_upload_can_t_be_read_is_shown_and_its_steps_fail_in_one_line(
    services: Services, client: FlaskClient
) -> None:
    store = services.store
    bad, good = add_job(store, "0-1", "1-2"), add_job(store, "0-1")
    claims = Claims(store, "somebody")
    assert isinstance(claims.claim(bad.steps[0].id, "eager"), Claimed)
    claims.finish(bad.steps[0], Output("jobs/x/y/z.mp4", 1, "video/mp4"))
    _, token = Shares(store).add(bad, None, 7)
    damaged(store, "update jobs set upload_id = 'nonsense' where id = ?", bad.id)

    listed = {each["id"]: each for each in answer(client, "/api/jobs")["jobs"]}
    assert listed.keys() == {bad.id, good.id}
    assert listed[bad.id]["error"] == "The row of this job can't be read (upload_id)."
    assert client.get(f"/shared/{token}").status_code == 200
    run = StepRun(services, bad.steps[1].id, owner="a", route="eager", listeners=())
    with pytest.raises(MediaError):
        run.run()
    why = "The row of the upload can't be read: upload the video again."
    assert answer(client, f"/api/jobs/{bad.id}")["steps"][1]["error"] == why
    assert client.delete(f"/api/jobs/{bad.id}").status_code == 204


def test_a_step_whose_id_can_t_be_read_is_shown_and_goes_with_its_job(
    services: Services, client: FlaskClient
) -> None:
    bad = add_job(services.store, "0-1", "1-2")
    damaged(services.store, "update steps set id = x'ff00' where id = ?", bad.steps[0].id)

    assert answer(client, f"/api/jobs/{bad.id}")["steps"][0]["id"] == "?"
    assert client.delete(f"/api/jobs/{bad.id}").status_code == 204


def test_what_is_to_be_made_of_an_upload_and_can_t_be_read_says_so(services: Services) -> None:
    upload = add_job(services.store, "0-1").upload
    wanted = Derivatives(services.store, services.storage)
    wanted.ask(PROXY, upload)
    damaged(services.store, "update derivatives set attempts = 'often', look_at = 1.0")

    assert list(wanted.next()) == []

    record = wanted.record(PROXY, upload)
    assert record and record.error == "Its row can't be read (attempts): ask for it again."
    assert wanted.ask(PROXY, upload), "it is made anew"


def test_a_link_whose_end_can_t_be_read_is_shown_and_shows_no_more_than_it_did(
    services: Services, client: FlaskClient
) -> None:
    store = services.store
    job = add_job(store, "0-1")
    assert isinstance(Claims(store, "a").claim(job.steps[0].id, "eager"), Claimed)
    Claims(store, "a").finish(job.steps[0], Output("jobs/x/y/z.mp4", 1, "video/mp4"))
    _, token = Shares(store).add(store.job(job.id), job.steps[0].name, 7)
    damaged(store, "update shares set expires_at = 'late', created_at = x'ff00'")

    assert client.get(f"/shared/{token}").status_code == 200
    assert len(answer(client, f"/api/jobs/{job.id}/shares")["shares"]) == 1
    damaged(store, "update shares set output = x'ff00'")
    assert client.get(f"/shared/{token}").status_code == 404
