"""Messages over 128 KB: in R2 (or a directory), with real workers that are killed in between."""

from __future__ import annotations

import base64
import json
import logging
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import kombu
import pytest
from celery import Celery

from cutmv.transports.cloudflare import publish_batch
from cutmv.transports.cloudflare.consumer import intake
from cutmv.transports.cloudflare.errors import PublishFailed
from cutmv.transports.cloudflare.messages import Outgoing
from tests.support.die_at_large import POINTS
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.s3 import BUCKET, KEY_ID, SECRET, Line
from tests.support.site import HUB, HubSite
from tests.support.transport import ROOT, CloudflareSite, connect, noise, wait_until

QUEUE = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
MEGABYTE = noise(1_000_000)


@pytest.fixture(params=["cloudflare"])
def site(site: CloudflareSite) -> CloudflareSite:
    return site


@pytest.fixture
def r2(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The option that names a prefix of its own in the bucket; the keys are in the environment."""
    monkeypatch.setenv("R2_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("R2_ENDPOINT_URL", s3_url)
    return {"large_messages": f"r2://{BUCKET}/{uuid4().hex}"}


def _in_r2(s3_url: str, option: dict[str, str]) -> list[str]:
    client: Any = boto3.client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    # Beside the lease records, which are kept there, too.
    prefix = option["large_messages"].removeprefix(f"r2://{BUCKET}/") + "/large-messages/"
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"] for each in listed.get("Contents", ())]


def _in(directory: Path) -> list[Path]:
    return list((directory / "large-messages").glob("[0-9a-f]*"))


def _app(emulator: EmulatorProcess, **options: Any) -> Celery:
    app = Celery(
        "tests.support.transport_app",
        broker=f"cloudflare://:{emulator.api_token}@{emulator.account_id}",
        set_as_current=False,
    )
    app.conf.task_default_queue = "work"
    app.conf.broker_transport_options = {"api_base_url": emulator.base_url, **options}
    return app


def _held(emulator: EmulatorProcess) -> dict[str, int]:
    held = emulator.stats()["messages"]
    return {queue: count for queue, count in held.items() if count}


def _take(connection: kombu.Connection, finish: Callable[[kombu.Message], None]) -> kombu.Message:
    taken: list[kombu.Message] = []

    def take(message: kombu.Message) -> None:
        if not taken:
            taken.append(message)
            finish(message)

    end = time.monotonic() + 20
    with connection.channel() as channel:
        channel.basic_qos(0, 1, False)
        with kombu.Consumer(channel, [QUEUE], on_message=take, accept=["json", "text/plain"]):
            while not taken and time.monotonic() < end:
                try:
                    connection.drain_events(timeout=0.2)
                except TimeoutError:
                    continue
    assert taken, "no message came in time"
    return taken[0]


def _publish(connection: kombu.Connection, body: Any) -> None:
    connection.Producer().publish(body, exchange="work", routing_key="work", declare=[QUEUE])


def test_a_megabyte_travels_through_r2_and_its_object_ends_with_the_message(
    emulator: EmulatorProcess, r2: dict[str, str], s3_url: str
) -> None:
    with connect(emulator, **r2) as connection:
        _publish(connection, MEGABYTE)
        _publish(connection, "small")
        assert len(_in_r2(s3_url, r2)) == 1

        bodies = []
        for _ in range(2):
            bodies.append(_take(connection, kombu.Message.ack).payload)
        wait_until(lambda: not _in_r2(s3_url, r2), what="the object is removed")

    assert set(bodies) == {"small", MEGABYTE}


def test_a_message_that_goes_back_keeps_its_object(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with connect(emulator, large_messages=tmp_path.as_uri()) as connection:
        _publish(connection, MEGABYTE)
        assert _take(connection, kombu.Message.requeue).payload == MEGABYTE
        wait_until(lambda: emulator.stats()["retried"] == 1, what="it is back")
        assert len(_in(tmp_path)) == 1
        assert _take(connection, kombu.Message.reject).payload == MEGABYTE
        wait_until(lambda: emulator.stats()["messages"]["work-dead"], what="it is a dead letter")
        assert len(_in(tmp_path)) == 1, "a dead letter can be replayed"


def test_a_single_message_can_be_got(emulator: EmulatorProcess, tmp_path: Path) -> None:
    with connect(emulator, large_messages=tmp_path.as_uri()) as connection:
        _publish(connection, MEGABYTE)
        message = connection.channel().basic_get("work")
        assert message.payload == MEGABYTE
        message.ack()
        _publish(connection, MEGABYTE)
        wait_until(lambda: len(_in(tmp_path)) == 1, what="the first object is removed")
        _in(tmp_path)[0].unlink()
        assert connection.channel().basic_get("work") is None

    assert _held(emulator) == {"work-dead": 1}


def test_the_bucket_gets_a_rule_for_what_is_left_over(
    emulator: EmulatorProcess, r2: dict[str, str], s3_url: str
) -> None:
    with connect(emulator, **r2) as connection:
        _publish(connection, MEGABYTE)
    client: Any = boto3.client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    rules = client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]

    prefix = r2["large_messages"].removeprefix(f"r2://{BUCKET}/") + "/large-messages/"
    (rule,) = [rule for rule in rules if rule["Filter"]["Prefix"] == prefix]
    assert rule["Expiration"]["Days"] == 30
    assert rule["Status"] == "Enabled"


def test_a_store_that_does_not_answer_fails_the_publish_and_holds_up_no_other_message(
    emulator: EmulatorProcess,
    r2: dict[str, str],
    s3_line: Line,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("R2_ENDPOINT_URL", s3_line.url)
    monkeypatch.setattr(intake, "INTAKE_RETRY_DELAY", 1.0)
    with connect(emulator, lease_ledger="none", **r2) as connection:
        _publish(connection, MEGABYTE)
        s3_line.cut()
        with pytest.raises(PublishFailed, match="can't write"):
            _publish(connection, MEGABYTE)
        _publish(connection, "small")
        assert _take(connection, kombu.Message.ack).payload == "small"
        wait_until(lambda: "waits to be read" in caplog.text, what="the reader says so")
        s3_line.mend()
        assert _take(connection, kombu.Message.ack).payload == MEGABYTE

    assert SECRET not in caplog.text
    assert _held(emulator) == {}


def test_a_message_whose_object_is_gone_goes_to_the_dead_letters_with_one_error(
    emulator: EmulatorProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(emulator, large_messages=tmp_path.as_uri()) as connection:
        _publish(connection, MEGABYTE)
        _in(tmp_path)[0].unlink()
        _publish(connection, "small")
        assert _take(connection, kombu.Message.ack).payload == "small"

    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "is rejected (directory" in errors[0]
    assert _held(emulator) == {"work-dead": 1}


def test_a_consumer_without_the_option_leaves_the_message_to_others(
    emulator: EmulatorProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    option = {"large_messages": tmp_path.as_uri()}
    with connect(emulator, **option) as connection:
        _publish(connection, MEGABYTE)
    with connect(emulator) as connection:
        _publish(connection, "small")
        assert _take(connection, kombu.Message.ack).payload == "small"
    assert "here the transport option large_messages is not set" in caplog.text

    assert _held(emulator) == {"work": 1}
    assert len(_in(tmp_path)) == 1


def test_a_batch_of_large_messages_is_one_call(emulator: EmulatorProcess, tmp_path: Path) -> None:
    app = _app(emulator, large_messages=tmp_path.as_uri())
    with publish_batch(app):
        for _ in range(20):
            app.send_task("task", [noise(200_000)])
    app.close()

    assert emulator.stats()["calls"]["batch"] == {"200": 1}
    assert len(_in(tmp_path)) == 20


def test_a_worker_runs_a_megabyte_of_arguments_from_r2(
    site: CloudflareSite, r2: dict[str, str], s3_url: str
) -> None:
    worker = site.ready(site.worker(**r2))
    app = _app(site.emulator, **r2)
    for _ in range(5):
        app.send_task("tests.support.transport_app.record", [MEGABYTE])
    app.close()

    wait_until(lambda: len(site.notes("record")) == 5, 30, "they ran")
    assert {note["value"] for note in site.notes("record")} == {MEGABYTE}
    wait_until(lambda: site.emulator.stats()["acked"] == 5, what="all are acked")
    worker.term()
    assert worker.child.wait(20) == 0
    assert _in_r2(s3_url, r2) == []
    assert "ERROR" not in worker.log()


def test_a_killed_worker_leaves_a_large_message_to_another(
    site: CloudflareSite, r2: dict[str, str], s3_url: str, tmp_path: Path
) -> None:
    first = site.ready(site.worker(visibility_timeout=2, **r2))
    app = _app(site.emulator, **r2)
    app.send_task("tests.support.transport_app.hold", [MEGABYTE, str(tmp_path / "go")])
    app.close()
    wait_until(lambda: site.notes("started"), what="the task started")
    first.kill()
    assert len(_in_r2(s3_url, r2)) == 1
    site.ready(site.worker(visibility_timeout=30, **r2))

    wait_until(lambda: len(site.notes("started")) == 2, 30, "it started elsewhere")
    (tmp_path / "go").touch()
    wait_until(lambda: site.emulator.stats()["acked"] == 1, what="it is acked")
    (ended,) = site.notes("ended")
    assert ended["value"] == MEGABYTE
    wait_until(lambda: not _in_r2(s3_url, r2), what="the object is removed")


def test_a_large_message_waits_for_its_time_in_the_queue(
    site: CloudflareSite, tmp_path: Path
) -> None:
    option = {"large_messages": (tmp_path / "store").as_uri()}
    site.ready(site.worker(**option))
    app = _app(site.emulator, **option)
    sent = time.time()
    app.send_task("tests.support.transport_app.record", [MEGABYTE], countdown=5)
    app.close()

    wait_until(lambda: site.notes("record"), 30, "it ran")
    (note,) = site.notes("record")
    assert note["value"] == MEGABYTE
    assert 5 <= note["at"] - sent < 9
    wait_until(lambda: not _in(tmp_path / "store"), what="the object is removed")


@pytest.mark.slow
def test_a_hop_of_a_large_message_keeps_its_object(site: CloudflareSite, tmp_path: Path) -> None:
    """One that comes before its time, as after Cloudflare's twelve hours, is published again."""
    option = {"large_messages": (tmp_path / "store").as_uri()}
    app = _app(site.emulator, **option)
    with app.connection_for_write() as connection:
        session = connection.default_channel.session
        session.client.publish, publish = (
            lambda queue_id, texts, deadline: publish(
                queue_id, [(t, 0) for t, _ in texts], deadline
            ),
            session.client.publish,
        )
        app.send_task("tests.support.transport_app.record", [MEGABYTE], countdown=6)
    app.close()
    site.ready(site.worker(**option))

    wait_until(lambda: site.emulator.stats()["published"] == 2, what="it hopped")
    wait_until(lambda: site.notes("record"), 30, "it ran")
    assert site.notes("record")[0]["value"] == MEGABYTE
    wait_until(lambda: not _in(tmp_path / "store"), what="the object is removed")
    assert len(site.notes("record")) == 1


@pytest.mark.parametrize("site", ["cloudflare", HUB], indirect=True)
def test_a_reply_over_the_limit_arrives(site: CloudflareSite, tmp_path: Path) -> None:
    option = {"large_messages": (tmp_path / "store").as_uri()}
    site.ready(site.worker(**option))
    app = _app(site.emulator, **option, **(site.options if isinstance(site, HubSite) else {}))
    app.send_task("tests.support.transport_app.hold", [MEGABYTE, str(tmp_path / "go")])
    wait_until(lambda: site.notes("started"), what="the task started")

    (active,) = app.control.inspect(timeout=20, limit=1).active().values()

    assert active[0]["args"][0] == MEGABYTE
    (tmp_path / "go").touch()
    wait_until(lambda: not _in(tmp_path / "store"), what="the objects are removed")
    app.close()


@pytest.mark.slow
def test_a_reply_over_the_limit_without_a_store_is_dropped_and_the_worker_answers_on(
    site: CloudflareSite, tmp_path: Path
) -> None:
    worker = site.ready(site.worker())
    app = _app(site.emulator)
    for _ in range(2):
        app.send_task("tests.support.transport_app.hold", [noise(100_000), str(tmp_path / "go")])
    wait_until(lambda: len(site.notes("started")) == 2, what="the tasks started")

    assert app.control.inspect(timeout=6, limit=1).active() is None

    dropped = "a reply is dropped: message of 20"
    wait_until(lambda: dropped in worker.log(), what="the worker says so")
    assert app.control.inspect(timeout=20, limit=1).ping()
    assert "Traceback" not in worker.log()
    (tmp_path / "go").touch()
    app.close()


def _run_to_death(site: CloudflareSite, role: str, point: str, options: dict[str, Any]) -> None:
    argv = ["-m", "tests.support.die_at_large", role, point, json.dumps(options)]
    done = run_python(*argv, env=site.env(), cwd=ROOT)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", POINTS["publish"])
def test_wherever_a_publisher_dies_no_message_is_without_its_object(
    site: CloudflareSite, tmp_path: Path, point: str
) -> None:
    store = tmp_path / "store"
    options = {"large_messages": store.as_uri()}
    _run_to_death(site, "publish", point, options)

    published = site.emulator.stats()["messages"]["work"]
    assert published == (point == "after the message is published")
    assert len(_in(store)) == (point != "before the object is written")
    if published:
        with connect(site.emulator, **options) as connection:
            assert _take(connection, kombu.Message.ack).payload == noise(200_000)


@pytest.mark.parametrize("point", POINTS["consume"])
def test_wherever_a_consumer_dies_the_message_is_whole_or_ended(
    site: CloudflareSite, tmp_path: Path, point: str
) -> None:
    store = tmp_path / "store"
    # Without a ledger, which may know of a message that it is done before Cloudflare does.
    options = {
        "large_messages": store.as_uri(),
        "visibility_timeout": 1,
        "lease_ledger": "none",
    }
    with connect(site.emulator, **options) as connection:
        _publish(connection, noise(200_000))
    _run_to_death(site, "consume", point, options)

    ended = site.emulator.stats()["messages"]["work"] == 0
    assert ended == (
        point in ("after the ack", "before the object is removed", "after the object is removed")
    )
    assert len(_in(store)) == (point != "after the object is removed")
    if not ended:
        with connect(site.emulator, **options) as connection:
            assert _take(connection, kombu.Message.ack).payload == noise(200_000)
        assert _in(store) == []


def test_a_message_by_the_default_exchange_of_another_process_is_fitted_too(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """One that is not lasting, to a lasting queue that this process has not looked for."""
    options = {"large_messages": tmp_path.as_uri()}
    with connect(emulator, **options) as connection, connect(emulator) as other:
        connection.connect()
        other.default_channel.queue_declare("work")
        connection.Producer().publish(
            noise(200_000), exchange="", routing_key="work", delivery_mode=1
        )
        wait_until(lambda: _held(emulator) == {"work": 1}, what="it is published")
        assert _take(connection, kombu.Message.ack).payload == noise(200_000)
        wait_until(lambda: not _in(tmp_path), what="the object is removed")


def test_a_bomb_becomes_a_dead_letter(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, "x" * 1_000_000)
        channel = connection.channel()
        session = channel.connection.session
        entry = session.client.pull(
            session.directory.get("work").queue_id, 1, 1.0, time.monotonic() + 5
        ).messages[0]
        bomb = json.loads(entry["body"])
        bomb["body"] = base64.b64encode(zlib.compress(bytes(20_000_000))).decode()
        session.publishers.publish("work", [Outgoing(json.dumps(bomb))])
        _publish(connection, "after")
        payloads = set()
        while payloads < {"x" * 1_000_000, "after"}:  # the first one's lease ends
            message = wait_until(lambda: channel.basic_get("work"))
            payloads.add(message.payload)
            message.ack()

    wait_until(lambda: emulator.stats()["messages"]["work-dead"] == 1)
