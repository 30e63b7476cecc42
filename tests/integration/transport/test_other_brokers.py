"""Failover lists, options of other brokers, and a token that changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import kombu
import pytest
import redis
from celery import Celery

from cutmv.transports.cloudflare.errors import AccessDenied
from cutmv.transports.cloudflare.leases import token_keys_of
from tests.support.emulator import EmulatorProcess
from tests.support.transport import connect, make_site, wait_until


def test_a_publisher_with_a_failover_list_moves_on_in_an_outage(
    emulator: EmulatorProcess, redis_url: str
) -> None:
    ours = f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
    app = Celery(broker=[ours, redis_url], set_as_current=False)
    app.conf.update(
        task_default_queue="work",
        broker_transport_options={
            "api_base_url": emulator.base_url,
            "publish_timeout": 1,
            "socket_timeout": 5,
            "visibility_timeout": 86_400,
        },
    )
    with app.connection_for_write() as connection:
        first = app.send_task("first", connection=connection)
        assert emulator.stats()["messages"]["work"] == 1
        emulator.stop()
        second = app.send_task("second", connection=connection)
        assert connection.transport.driver_type == "redis"
    assert first.id != second.id
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("work") == 1


def test_a_worker_of_a_failover_list_says_that_it_reads_one_broker(
    emulator: EmulatorProcess, tmp_path: Path, redis_url: str
) -> None:
    with make_site(emulator, tmp_path) as site:
        worker = site.worker(
            env={"TRANSPORT_BROKER": f"cloudflare://;{redis_url}"}, socket_timeout=5
        )
        site.ready(worker)
        log = worker.log()
    assert log.count("run a worker for each broker") == 1
    assert log.count("socket_timeout are another broker's") == 1


def test_a_wrong_option_ends_a_worker_in_one_line(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with make_site(emulator, tmp_path) as site:
        worker = site.worker(visibility_timout=5)
        wait_until(lambda: worker.child.poll() is not None, 40, "the worker's end")
        log = worker.log()
    assert worker.child.poll() == 1
    assert [line for line in log.splitlines() if "no such option: visibility_timout" in line]
    assert "Traceback" not in log


def test_a_token_that_is_replaced_in_its_file_is_used_at_once(
    emulator: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "token"
    secret.write_text(emulator.api_token)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN_FILE", str(secret))
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", emulator.account_id)
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    options = {"api_base_url": emulator.base_url}
    connection = kombu.Connection("cloudflare://", transport_options=options)
    with connection, connection.SimpleQueue("work") as queue:
        queue.put("a")
        queue.get(timeout=20).ack()
        wait_until(lambda: emulator.stats()["acked"] == 1)
        monkeypatch.setenv("R2_ENDPOINT_URL", "http://127.0.0.1:1")
        session = connection.default_channel.session
        token_id, first_key = token_keys_of(session.client, session.options) or ("", "")
        secret.write_text("the-new-token")  # first here, then at Cloudflare
        emulator.stop()
        emulator.api_token = "the-new-token"  # the emulator's
        emulator.start()
        queue.put("b")
        message = queue.get(timeout=20)
        assert message.payload == "b"
        message.ack()
        wait_until(lambda: emulator.stats()["acked"] == 1)
        key = token_keys_of(session.client, session.options)
        assert key == (token_id, hashlib.sha256(b"the-new-token").hexdigest())
        assert key != (token_id, first_key), "R2's key follows the token"


def test_a_connection_goes_on_once_a_refused_token_works_again(emulator: EmulatorProcess) -> None:
    right = emulator.api_token
    with connect(emulator) as connection:
        connection.connect()
        emulator.stop()
        emulator.api_token = "another"  # the emulator's
        emulator.start()
        with pytest.raises(AccessDenied), connection.SimpleQueue("work") as queue:
            queue.get(timeout=20)
        emulator.stop()
        emulator.api_token = right
        emulator.start()
        connection.ensure_connection(max_retries=20, interval_start=0.1, interval_step=0.1)
        with connection.SimpleQueue("work") as queue:
            queue.put("a")
            queue.get(timeout=20).ack()
