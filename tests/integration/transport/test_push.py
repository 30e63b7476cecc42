"""Push mode: what a real worker's ingress answers to what stands for the edge Worker.

The Worker itself, in its own runtime, is in tests/edge/.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery

from cutmv.transports.cloudflare.edge import signature
from cutmv.transports.cloudflare.edge.push_gate import ACTIVITY, DELIVERIES
from cutmv.transports.cloudflare.errors import TaskTooLong
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.processes import free_port
from tests.support.queues import client, queue_id
from tests.support.transport import CloudflareSite, WorkerProcess, wait_until

KEYS = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="

#: Seconds in which the answer to a batch has begun, on a busy machine.
ANSWER_S = 20


def _nothing() -> None:
    """A task that is only sent."""


class PushSite(CloudflareSite):
    """A site whose queue no one pulls from, and its worker's ingress."""

    def __init__(self, emulator: EmulatorProcess, directory: Path) -> None:
        super().__init__(emulator, directory)
        self.ports: list[int] = []
        self.broker |= {"CLOUDFLARE_CONSUME": "push", "CLOUDFLARE_EDGE_KEYS": KEYS}
        for name in ("work-dead", "work"):
            client(emulator).create_queue(name, 1e12)
        consumer = {
            "type": "worker",
            "script_name": "cutmv-processor",
            "settings": {"batch_size": 1, "max_retries": 100},
            "dead_letter_queue": "work-dead",
        }
        client(emulator).create_consumer(queue_id(emulator, "work"), consumer, 1e12)

    def push_worker(self, *args: str, **options: Any) -> WorkerProcess:
        return self.ready(self.unready_push_worker(*args, **options))

    def unready_push_worker(self, *args: str, **options: Any) -> WorkerProcess:
        self.ports.append(free_port())
        env = {"CLOUDFLARE_INGRESS_PORT": str(self.ports[-1])}
        return self.worker(*args, env=env | options.pop("env", {}), **options)

    def waiting(self, number: int = 0) -> int:
        """How many messages wait in the line of a worker."""
        body = b'{"queue": "work", "messages": []}'
        url = f"http://127.0.0.1:{self.ports[number]}/v1/deliveries"
        answer = httpx.post(url, content=body, headers=signature.headers(KEYS, DELIVERIES, body))
        return int(json.loads(answer.text)["waiting"])

    def texts(self, count: int) -> list[str]:
        """The texts of what was sent, which stays where it is."""
        found = client(self.emulator).peek(queue_id(self.emulator, "work"), 100, 1e12)
        assert len(found) == count
        return [message["body"] for message in found]


class Push:
    """One POST of a batch, and the lines of its answer as they come."""

    def __init__(self, port: int, *texts: str, attempts: int = 1, **how: Any) -> None:
        messages = [
            {
                "id": f"message-{n}",
                "timestamp_ms": how.get("timestamp_ms", 1),
                "attempts": attempts,
                "body": text,
            }
            | ({"content_type": how["content_type"]} if "content_type" in how else {})
            for n, text in enumerate(texts)
        ]
        document = {"queue": "work", "messages": messages, **how.get("more", {})}
        self.body = how.get("body") or json.dumps(document).encode()
        self.headers = how.get("headers") or signature.headers(KEYS, DELIVERIES, self.body)
        self.url = f"http://127.0.0.1:{port}/v1/deliveries"
        self.status = 0
        self.problem: dict[str, Any] = {}
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.first: dict[str, Any] = {}
        self.ended = threading.Event()
        self._cut = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self.status, ANSWER_S, "it is answered")

    def cut(self) -> None:
        """Break the connection."""
        self._cut.set()
        with contextlib.suppress(OSError):  # the other end has broken it already
            self._socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(ANSWER_S)

    @property
    def waits(self) -> bool:
        """Whether its connection is there, and the last outcome not."""
        return self._thread.is_alive()

    def outcome(self, number: int = 0, seconds: float = ANSWER_S) -> dict[str, Any]:
        return wait_until(lambda: self.outcomes.get(f"message-{number}"), seconds, "it ended")

    def _run(self) -> None:
        with (
            httpx.Client(timeout=60) as http,
            http.stream("POST", self.url, content=self.body, headers=self.headers) as answer,
        ):
            self._socket = answer.extensions["network_stream"]
            if answer.status_code != 200:
                self.problem = json.loads(answer.read())
                self.status = answer.status_code
                return
            self.status = answer.status_code
            try:
                for line in answer.iter_lines():
                    if line:
                        told = json.loads(line)
                        if "id" in told:
                            self.outcomes[told.pop("id")] = told
                        else:
                            self.first = told
                self.ended.set()
            except (httpx.HTTPError, OSError, ValueError):
                assert self._cut.is_set()


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[PushSite]:
    site = PushSite(emulator, tmp_path)
    yield site
    site.close()


def test_a_pushed_task_runs_and_its_ack_is_the_answer(site: PushSite) -> None:
    site.push_worker()
    site.send("record", "pushed")
    site.send("flaky", "again", 1)
    record, flaky = site.texts(2)

    push = Push(site.ports[0], record, flaky, "no message of Celery's")

    assert push.outcome(0) == {"outcome": "ack"}
    assert push.outcome(1) == {"outcome": "ack"}, "its retry is a message of its own"
    assert push.outcome(2) == {"outcome": "ack"}, "it is in the dead letters"
    assert push.ended.wait(ANSWER_S)
    assert [note["value"] for note in site.notes("record")] == ["pushed"]
    wait_until(lambda: site.backlog() == {"work": 3, "work-dead": 1}, what="the others came")


def test_json_and_bytes_are_read_or_go_to_the_dead_letters_as_they_are(site: PushSite) -> None:
    site.push_worker()
    site.send("record", "by a Worker", count=2)
    one, other = site.texts(2)
    as_bytes = [base64.b64encode(raw).decode() for raw in (other.encode(), b"\xff\x00")]

    pushes = [
        Push(site.ports[0], one, '{"no": "message"}', content_type="json"),
        Push(site.ports[0], *as_bytes, "no base64", content_type="bytes"),
    ]

    for push in pushes:
        assert push.ended.wait(ANSWER_S)
        assert all(outcome == {"outcome": "ack"} for outcome in push.outcomes.values())
    assert len(site.notes("record")) == 2
    dead = client(site.emulator).peek(queue_id(site.emulator, "work-dead"), 100, 1e12)
    kinds = {each["body"]: each["metadata"]["CF-Content-Type"] for each in dead}
    no_message = base64.b64encode(b'{"no":"message"}').decode()  # as a pull shows JSON
    assert kinds == {no_message: "json", as_bytes[1]: "text", "no base64": "text"}


def test_documents_that_are_pushed_are_tasks_where_the_queue_has_one(site: PushSite) -> None:
    site.push_worker(foreign_messages={"work": "tests.support.transport_app.on_event"})

    push = Push(site.ports[0], '{"action": "PutObject"}', "[1]", content_type="json")

    assert push.ended.wait(ANSWER_S)
    assert list(push.outcomes.values()) == [{"outcome": "ack"}] * 2
    values = [note["value"] for note in site.notes("event")]
    assert values in ([{"action": "PutObject"}, [1]], [[1], {"action": "PutObject"}])
    assert site.held() == 0


@pytest.mark.parametrize("prefetch", [pytest.param("1", marks=pytest.mark.slow), "4"])
def test_what_there_is_no_room_for_waits_and_the_oldest_is_next(
    site: PushSite, tmp_path: Path, prefetch: str
) -> None:
    site.push_worker(env={"TRANSPORT_PREFETCH": prefetch})
    for name in ("a", "b", "later", "sooner"):
        site.send("hold", name, str(tmp_path / name))
    texts = dict(zip(("a", "b", "later", "sooner"), site.texts(4), strict=True))
    first = [Push(site.ports[0], texts[name]) for name in ("a", "b")]
    wait_until(lambda: len(site.notes("started")) == 2, what="two run")

    later = Push(site.ports[0], texts["later"], timestamp_ms=2_000)
    wait_until(lambda: site.waiting() == 1, what="it waits")
    sooner = Push(site.ports[0], texts["sooner"], timestamp_ms=1_000)
    wait_until(lambda: site.waiting() == 2, what="it waits, too")
    assert len(site.notes("started")) == 2
    (tmp_path / "a").touch()
    assert first[0].outcome() == {"outcome": "ack"}
    wait_until(lambda: len(site.notes("started")) == 3, what="one more runs")
    assert site.notes("started")[-1]["value"] == "sooner"
    assert site.waiting() == 1
    for name in ("b", "sooner", "later"):
        (tmp_path / name).touch()
    for push in (*first, sooner, later):
        assert push.outcome() == {"outcome": "ack"}


def test_a_task_that_is_acked_early_takes_a_process_until_it_ends(
    site: PushSite, tmp_path: Path
) -> None:
    site.push_worker()
    site.send("hold_early", "runs", str(tmp_path / "go"), count=3)
    texts = site.texts(3)
    for text in texts[:2]:
        assert Push(site.ports[0], text).outcome() == {"outcome": "ack"}
    wait_until(lambda: len(site.notes("started")) == 2, what="two run")

    third = Push(site.ports[0], texts[2])
    wait_until(lambda: site.waiting() == 1, what="it waits for a free process")
    assert not third.outcomes
    code = (
        f"import json; from {site.app} import app\n"
        "print(json.dumps(app.control.inspect(timeout=20, limit=1).stats()))"
    )
    (stats,) = json.loads(run_python("-c", code, env=site.env(), check=True).stdout).values()
    figures = {"waiting": 1, "running": 0, "busy_answers": 0, "slots": 2}
    assert stats["cloudflare"]["push"] == {"work": figures}
    (tmp_path / "go").touch()
    assert third.outcome() == {"outcome": "ack"}


def test_a_task_that_could_not_end_in_time_comes_again_instead_of_starting_late(
    site: PushSite, tmp_path: Path
) -> None:
    site.push_worker("-c", "1")
    site.send("hold", "runs", str(tmp_path / "go"))
    site.send("record", "waits", time_limit=100)
    runs, waits = site.texts(2)
    first = Push(site.ports[0], runs)
    wait_until(lambda: site.notes("started"), what="it runs")

    hurried = Push(site.ports[0], waits, more={"seconds": 101})
    outcome = hurried.outcome()
    assert outcome["outcome"] == "busy"
    assert 1 <= outcome["delay_seconds"] <= 60
    patient = Push(site.ports[0], waits, more={"seconds": 800})
    wait_until(lambda: site.waiting() == 1, what="it waits")
    (tmp_path / "go").touch()
    assert first.outcome() == patient.outcome() == {"outcome": "ack"}


def test_a_message_that_another_worker_may_have_is_not_taken(site: PushSite) -> None:
    site.push_worker()
    site.send("record", "once")
    (text,) = site.texts(1)

    assert Push(site.ports[0], text, more={"worker": "another"}).status == 421
    push = Push(site.ports[0], text)
    assert push.outcome() == {"outcome": "ack"}
    again = Push(site.ports[0], text, more={"worker": push.first["worker"]}, attempts=2)
    assert again.outcome() == {"outcome": "ack"}
    assert len(site.notes("record")) == 1


def test_an_orphaned_message_runs_at_once_though_the_ledger_says_that_it_is_held(
    site: PushSite, tmp_path: Path
) -> None:
    ledger = {"lease_ledger": (tmp_path / "ledger").as_uri()}
    first = site.push_worker(**ledger)
    site.send("hold", "orphaned", str(tmp_path / "go"))
    (text,) = site.texts(1)
    lost = Push(site.ports[0], text, attempts=2)  # so that it is in the ledger from the start
    wait_until(lambda: len(site.notes("started")) == 1, what="it runs")
    lost.cut()
    first.kill()
    (tmp_path / "go").touch()
    site.push_worker(**ledger)

    waits = Push(site.ports[1], text, attempts=2)
    assert waits.outcome()["outcome"] == "retry", "its holder may be alive"
    assert waits.outcome()["delay_seconds"] > 60
    orphaned = Push(site.ports[1], text, attempts=2, more={"orphaned": True})

    assert orphaned.outcome() == {"outcome": "ack"}
    assert [note["redelivered"] for note in site.notes("started")] == [True, True]


def test_who_knows_the_key_hears_how_many_tasks_a_worker_has(
    site: PushSite, tmp_path: Path
) -> None:
    site.push_worker()
    url = f"http://127.0.0.1:{site.ports[0]}{ACTIVITY.target}"

    def tasks() -> int:
        answer = httpx.get(url, headers=signature.headers(KEYS, ACTIVITY))
        assert answer.status_code == 200
        return int(answer.json()["tasks"])

    assert tasks() == 0
    site.send("hold_early", "acked already", str(tmp_path / "go"))
    (text,) = site.texts(1)
    assert Push(site.ports[0], text).outcome() == {"outcome": "ack"}
    wait_until(lambda: tasks() == 1, what="a task that was acked still runs")
    (tmp_path / "go").touch()
    wait_until(lambda: tasks() == 0, what="it ended")
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers=signature.headers("another", ACTIVITY)).status_code == 401


@pytest.mark.parametrize("pool", [pytest.param("threads", marks=pytest.mark.slow), "solo"])
def test_other_pools_take_what_is_pushed(site: PushSite, pool: str) -> None:
    worker = site.push_worker("-P", pool)
    site.send("record", "pushed", count=6)

    pushes = [Push(site.ports[0], text) for text in site.texts(6)]

    assert all(push.outcome() == {"outcome": "ack"} for push in pushes)
    assert len(site.notes("record")) == 6
    worker.term()
    assert worker.child.wait(30) == 0


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_a_pool_of_green_threads_is_refused_in_a_line(site: PushSite, pool: str) -> None:
    pytest.importorskip(pool)
    worker = site.unready_push_worker("-P", pool)

    assert worker.child.wait(40) != 0
    assert f"messages can't be pushed to the {pool} pool: use the prefork" in worker.log()
    assert "Traceback" not in worker.log()


@pytest.mark.slow
def test_who_knows_no_key_can_not_fill_the_memory(site: PushSite) -> None:
    site.push_worker()
    head = (
        "POST /v1/deliveries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Content-Length: 2000000\r\n\r\n"
    )
    answers = []
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            half_sent = socket.create_connection(("127.0.0.1", site.ports[0]), ANSWER_S)
            stack.enter_context(half_sent)
            half_sent.sendall(head.encode() + b"x" * 1_900_000)
            half_sent.settimeout(ANSWER_S)
            answers.append(half_sent)
        statuses = [answer.recv(12).split()[1] for answer in answers]
    assert set(statuses) == {b"401"}  # by its headers


def test_a_copy_of_a_running_message_joins_it_and_one_of_a_done_message_is_not_run(
    site: PushSite, tmp_path: Path
) -> None:
    site.push_worker()
    site.send("hold", "once", str(tmp_path / "go"))
    (text,) = site.texts(1)

    first = Push(site.ports[0], text)
    wait_until(lambda: site.notes("started"), what="it runs")
    first.cut()
    second = Push(site.ports[0], text, attempts=2)
    (tmp_path / "go").touch()

    assert second.outcome() == {"outcome": "ack"}
    assert Push(site.ports[0], text, attempts=3).outcome() == {"outcome": "ack"}
    assert len(site.notes("started")) == 1


def test_a_message_whose_connection_broke_waits_while_its_worker_has_it(
    site: PushSite, tmp_path: Path
) -> None:
    ledger = {"lease_ledger": f"file://{tmp_path}/ledger", "visibility_timeout": 60}
    workers = [site.push_worker(**ledger) for _ in range(2)]
    site.send("hold", "once", str(tmp_path / "go"))
    (text,) = site.texts(1)

    first = Push(site.ports[0], text)
    wait_until(lambda: site.notes("started"), what="it runs")
    first.cut()
    wait_until(lambda: list((tmp_path / "ledger").rglob("*")), what="the ledger knows")
    elsewhere = Push(site.ports[1], text, attempts=2)
    outcome = elsewhere.outcome()
    assert outcome["outcome"] == "retry"
    assert 0 < outcome["delay_seconds"] <= 60

    (tmp_path / "go").touch()
    wait_until(lambda: site.notes("ended"), what="it ends")

    def done() -> bool:
        return Push(site.ports[1], text, attempts=3).outcome() == {"outcome": "ack"}

    wait_until(done, what="the other knows that it is done")
    assert len(site.notes("started")) == 1
    assert all(worker.child.poll() is None for worker in workers)


def test_a_killed_worker_leaves_its_message_to_another(site: PushSite, tmp_path: Path) -> None:
    ledger = {"lease_ledger": f"file://{tmp_path}/ledger", "visibility_timeout": 2}
    first, _second = (site.push_worker(**ledger) for _ in range(2))
    site.send("hold", "once", str(tmp_path / "go"))
    (text,) = site.texts(1)
    push = Push(site.ports[0], text)
    wait_until(lambda: site.notes("started"), what="it runs")
    push._cut.set()
    first.kill()
    (tmp_path / "go").touch()

    def acked() -> bool:
        return Push(site.ports[1], text, attempts=2).outcome() == {"outcome": "ack"}

    wait_until(acked, 20, "the other runs it, once the record of the first is over")
    assert len(site.notes("ended")) == 1


def test_a_warm_shutdown_ends_what_runs_and_returns_the_rest(
    site: PushSite, tmp_path: Path
) -> None:
    worker = site.push_worker("-c", "1")
    site.send("hold", "runs", str(tmp_path / "go"), count=2)
    push = Push(site.ports[0], *site.texts(2))
    wait_until(lambda: site.notes("started"), what="one runs")

    worker.term()

    def refused() -> bool:
        try:
            return Push(site.ports[0], *site.texts(2), attempts=2).status == 503
        except AssertionError:
            return False

    wait_until(refused, what="nothing more is taken")
    returned = wait_until(lambda: push.outcomes.copy(), what="what did not start comes again")
    assert [each["outcome"] for each in returned.values()] == ["wait"]
    (tmp_path / "go").touch()
    assert worker.child.wait(30) == 0
    assert push.ended.wait(ANSWER_S)
    assert sorted(each["outcome"] for each in push.outcomes.values()) == ["ack", "wait"]
    assert len(site.notes("ended")) == 1


def test_the_ingress_takes_only_what_is_signed_and_fits(site: PushSite) -> None:
    site.push_worker()
    site.send("record", "signed")
    (text,) = site.texts(1)
    port = site.ports[0]

    wrong = Push(port, text, headers=signature.headers("another", DELIVERIES, b"{}"))
    assert (wrong.status, wrong.problem["title"]) == (401, "Unauthorized")
    assert "different secrets" in wrong.problem["detail"]
    assert Push(port, body=b"{}").problem["detail"].startswith("The body must be a batch")
    once = Push(port, body=b'{"queue": "another", "messages": []}')
    assert (once.status, once.problem["detail"]) == (503, "Nobody consumes 'another' here.")
    again = Push(port, body=once.body, headers=once.headers)
    assert again.status == 409
    assert Push(port, body=b"x" * 2_000_001).status == 413
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").json() == {"ok": True}
    assert httpx.get(f"http://127.0.0.1:{port}/v1/deliveries").status_code == 405
    assert httpx.get(f"http://127.0.0.1:{port}/else").headers["content-type"] == (
        "application/problem+json"
    )
    assert site.notes("record") == []


def test_a_batch_is_taken_once_by_all_workers_and_after_a_restart(
    site: PushSite, tmp_path: Path
) -> None:
    ledger = {"lease_ledger": (tmp_path / "ledger").as_uri()}
    worker = site.push_worker(**ledger)
    site.push_worker(**ledger)  # which started before it was signed, and knows it by the ledger
    batch = b'{"queue": "work", "messages": []}'
    once = Push(site.ports[0], body=batch)
    assert once.status == 200
    worker.kill()
    site.push_worker(**ledger)
    for port in site.ports[1:]:
        again = Push(port, body=batch, headers=once.headers)
        assert (again.status, again.problem["detail"]) == (409, "This request was received before.")
        assert Push(port, body=batch).status == 200


def test_a_batch_that_was_signed_before_the_worker_started_is_not_taken(site: PushSite) -> None:
    old = {"webhook-id": "msg_1", "webhook-timestamp": str(int(time.time()) - 1)}
    site.push_worker()
    body = b'{"queue": "work", "messages": []}'
    stamp = int(old["webhook-timestamp"])
    old["webhook-signature"] = signature.sign(KEYS, DELIVERIES, "msg_1", stamp, body)
    assert Push(site.ports[0], body=body, headers=old).status == 409


@pytest.mark.slow
def test_signs_of_life_come_while_a_task_runs(site: PushSite, tmp_path: Path) -> None:
    site.push_worker()
    site.send("hold", "long", str(tmp_path / "go"))
    (text,) = site.texts(1)
    body = json.dumps(
        {
            "queue": "work",
            "messages": [{"id": "m", "timestamp_ms": 1, "attempts": 1, "body": text}],
        }
    ).encode()
    url = f"http://127.0.0.1:{site.ports[0]}/v1/deliveries"
    headers = signature.headers(KEYS, DELIVERIES, body)
    with httpx.stream("POST", url, content=body, headers=headers, timeout=30) as answer:
        lines = answer.iter_raw()
        assert "worker" in json.loads(next(lines))
        assert next(lines) == b"\n"
        assert site.notes("ended") == []
    (tmp_path / "go").touch()


def test_a_second_worker_on_the_same_port_says_what_to_set(site: PushSite) -> None:
    first = site.push_worker()
    second = site.worker(env={"CLOUDFLARE_INGRESS_PORT": str(site.ports[0])})
    wait_until(lambda: "its own ingress_port" in second.log(), 40, "it says so")
    assert first.child.poll() is None


def test_a_task_that_may_take_longer_than_a_worker_waits_is_refused_when_it_is_sent(
    site: PushSite,
) -> None:
    options = {"api_base_url": site.emulator.base_url, "consume": "push", "edge_keys": KEYS}
    url = f"cloudflare://:{site.emulator.api_token}@{site.emulator.account_id}"
    with Celery("sender", broker=url, set_as_current=False) as app:
        app.conf.broker_transport_options = options
        with pytest.raises(TaskTooLong, match=r"waits 870 s for a task at most.* limit is 900 s"):
            app.send_task("long", queue="work", time_limit=900, soft_time_limit=60)
        app.send_task("short", queue="work", time_limit=800)
        app.task(name="long")(_nothing)  # by which this app is known among the process's
        app.finalize()
        app.conf.task_time_limit = 1_000
        with pytest.raises(TaskTooLong, match=r"limit is 1000 s"):
            app.send_task("long", queue="work")
        app.task(name="medium", time_limit=880)(_nothing)
        app.task(name="short", time_limit=800)(_nothing)
        with pytest.raises(TaskTooLong, match=r"limit is 880 s"):
            app.tasks["medium"].apply_async(queue="work")
        app.tasks["short"].apply_async(queue="work")
        # A queue that is pulled from has no such bound.
        queue = client(site.emulator).create_queue("pulled", 1e12)
        consumer = {"type": "http_pull", "settings": {"max_retries": 100}}
        client(site.emulator).create_consumer(queue["queue_id"], consumer, 1e12)
        app.send_task("long", queue="pulled", time_limit=900)
    assert site.backlog() == {"work": 2, "pulled": 1}


def test_a_worker_pulls_the_queue_for_what_may_take_longer(site: PushSite) -> None:
    site.push_worker("-Q", "work,long", pulled_queues=["long"])
    site.send("record", "pushed", queue="work", time_limit=800)
    site.send("record", "pulled", queue="long", time_limit=3600)

    wait_until(lambda: site.notes("record"), what="it is pulled")
    (text,) = site.texts(1)

    assert Push(site.ports[0], text).outcome() == {"outcome": "ack"}
    assert [note["value"] for note in site.notes("record")] == ["pulled", "pushed"]
    wait_until(
        lambda: site.backlog() == {"work": 1, "long": 0},
        what="and the one that was pulled is acked",
    )


def test_pushed_and_pulled_tasks_take_turns(site: PushSite) -> None:
    site.push_worker("-Q", "work,long", pulled_queues=["long"])
    site.send("nap", "pushed", 0.2, queue="work", count=8)
    texts = site.texts(8)
    site.send("nap", "pulled", 0.2, queue="long", count=16)
    wait_until(lambda: site.notes("nap"), what="the pulled ones run")

    pushes = [Push(site.ports[0], text) for text in texts]

    assert all(push.outcome() == {"outcome": "ack"} for push in pushes)
    wait_until(lambda: len(site.notes("nap")) == 24, what="all ran")
    values = [note["value"] for note in site.notes("nap")]
    last = len(values) - 1 - values[::-1].index("pushed")
    between = values[values.index("pushed") : last].count("pulled")
    assert between >= 4
    assert "pulled" in values[last:], "the pulled ones did not go first"
