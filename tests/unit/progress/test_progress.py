"""What one who watches a job is told, and whom a webhook is believed from."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cutmv.jobs import Claimed, Claims, Job, JobStore, Output, UnknownJob
from cutmv.progress import Hub, SeenIds, WebhookRejected, WebhookSender, follow, verify
from cutmv.progress.outbox import PACE_S, Outbox
from cutmv.transports.cloudflare.edge.signature import sign
from tests.support.jobs import add_job
from tests.support.processes import wait_for

SECRET = "whsec_" + base64.b64encode(b"a shared secret of some length").decode()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield store
    store.close()


def event(job: Job, step: int = 0, percent: float = 10.0, stage: str = "cutting") -> dict[str, Any]:
    return {
        "uuid": job.steps[step].id,
        "job_id": job.id,
        "stage": stage,
        "percent": percent,
        "fps": 30.0,
        "speed": 1.5,
        "eta_s": 2.0,
        "out_time_s": 1.0,
    }


class Watcher:
    """Follows a job in a thread, as a WebSocket does."""

    def __init__(self, store: JobStore, hub: Hub, job: Job) -> None:
        self.messages: list[dict[str, Any] | None] = []
        self.stop = threading.Event()
        load: Callable[[], Job] = lambda: store.job(job.id)  # noqa: E731
        self._follow = follow(load, hub, stopped=self.stop.is_set)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_for(lambda: self.messages, what="the first snapshot")

    def _run(self) -> None:
        for message in self._follow:
            self.messages.append(message)

    def told(self, percent: float) -> bool:
        return any(m and m.get("percent") == percent for m in self.messages)

    def end(self) -> list[dict[str, Any] | None]:
        self.thread.join(10)
        assert not self.thread.is_alive(), "the follower did not end"
        return self.messages


def run_to_the_end(store: JobStore, job: Job) -> None:
    for step in job.steps:
        owner = Claims(store, step.id)
        claimed = owner.claim(step.id, "redis")
        assert isinstance(claimed, Claimed)
        owner.finish(claimed.step, Output("key", 1, "video/mp4"))


def test_a_watcher_gets_a_snapshot_then_events_then_the_end(store: JobStore) -> None:
    job, hub = add_job(store), Hub()
    watcher = Watcher(store, hub, job)

    hub.publish(event(job, percent=10.0))
    wait_for(lambda: watcher.told(10.0))
    run_to_the_end(store, job)

    messages = [message for message in watcher.end() if message]
    assert messages[0]["type"] == "snapshot"
    assert messages[0]["job"]["state"] == "queued"
    assert messages[1] == {
        "type": "progress",
        "job_id": job.id,
        "step_id": job.steps[0].id,
        "stage": "cutting",
        "percent": 10.0,
        "fps": 30.0,
        "speed": 1.5,
        "eta_s": 2.0,
        "out_time_s": 1.0,
    }
    assert messages[-1]["job"]["state"] == "done"


def test_progress_that_came_without_an_event_is_found_in_the_store(store: JobStore) -> None:
    job = add_job(store)
    owner = Claims(store, "me")
    claimed = owner.claim(job.steps[0].id, "redis")
    assert isinstance(claimed, Claimed)
    watcher = Watcher(store, Hub(), job)

    owner.beat(claimed.step, stage="cutting", percent=33.0)
    wait_for(lambda: watcher.told(33.0))

    store.cancel(job.id)
    assert (watcher.end()[-1] or {})["job"]["state"] == "cancelled"


def test_progress_never_goes_back(store: JobStore) -> None:
    job, hub = add_job(store), Hub()
    watcher = Watcher(store, hub, job)

    for percent in (50.0, 20.0, 60.0):
        hub.publish(event(job, percent=percent))
        if percent != 20.0:
            wait_for(lambda percent=percent: watcher.told(percent))
    store.cancel(job.id)

    shown = [m["percent"] for m in watcher.end() if m and m["type"] == "progress"]
    assert shown == [50.0, 60.0]


def test_nothing_follows_the_end(store: JobStore) -> None:
    job, hub = add_job(store), Hub()
    run_to_the_end(store, job)
    hub.publish(event(job, percent=99.0))

    messages = Watcher(store, hub, job).end()

    assert [message and message["type"] for message in messages] == ["snapshot"]


def test_events_of_other_jobs_and_of_strangers_are_not_told(store: JobStore) -> None:
    job, other, hub = add_job(store), add_job(store), Hub()
    watcher = Watcher(store, hub, job)

    hub.publish(event(other, percent=10.0))
    hub.publish({**event(other, percent=20.0), "job_id": job.id})
    hub.publish({"job_id": job.id})
    hub.publish({**event(job), "percent": "40"})
    hub.publish(event(job, percent=30.0))
    wait_for(lambda: watcher.told(30.0))
    store.cancel(job.id)

    shown = [m["percent"] for m in watcher.end() if m and m["type"] == "progress"]
    assert shown == [30.0]


def test_a_follower_ends_when_it_is_stopped_or_its_job_is_gone(store: JobStore) -> None:
    job, hub = add_job(store), Hub()
    stopped, orphan = Watcher(store, hub, job), Watcher(store, hub, job)

    stopped.stop.set()
    stopped.end()
    store.delete_job(job.id)
    orphan.end()

    with pytest.raises(UnknownJob):
        next(follow(lambda: store.job(job.id), hub))


def test_a_hub_forgets_whom_nobody_watches(store: JobStore) -> None:
    job, hub = add_job(store), Hub()
    with hub.subscribe(job.id) as subscription:
        for percent in range(1000):
            hub.publish(event(job, percent=float(percent)))
        assert [taken["percent"] for taken in subscription.take(1.0)] == [999.0]

    hub.publish(event(job))
    assert subscription.take(0.0) == []


# Webhooks


def signed(body: bytes, *, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    stamp = int(time.time() if at is None else at)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign(secret, "msg_1", stamp, body),
    }


BODY = json.dumps({"events": [{"uuid": "s", "job_id": "j"}]}).encode()


def test_a_signed_webhook_is_believed_once() -> None:
    seen = SeenIds()

    assert verify(SECRET, signed(BODY), BODY, seen=seen) == [{"uuid": "s", "job_id": "j"}]
    with pytest.raises(WebhookRejected) as caught:
        verify(SECRET, signed(BODY), BODY, seen=seen)
    assert caught.value.status == 409


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's reference libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'

    shown = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert shown == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_one_of_two_signatures_is_enough_while_a_secret_changes() -> None:
    headers = signed(BODY)
    other = signed(BODY, secret="another")["webhook-signature"]
    headers["webhook-signature"] = f"{other} {headers['webhook-signature']}"

    assert verify(SECRET, headers, BODY, seen=SeenIds())


@pytest.mark.parametrize(
    ("make_headers", "body", "status"),
    [
        (dict, BODY, 401),
        (lambda: signed(BODY, secret="another"), BODY, 401),
        (lambda: signed(b"{}"), BODY, 401),
        (lambda: {**signed(BODY), "webhook-id": "msg_2"}, BODY, 401),
        (lambda: {**signed(BODY), "webhook-timestamp": "soon"}, BODY, 401),
        (lambda: {**signed(BODY), "webhook-timestamp": "9" * 5_000}, BODY, 401),
        (lambda: {**signed(BODY), "webhook-timestamp": "²"}, BODY, 401),
        (lambda: {**signed(BODY), "webhook-timestamp": "١٢"}, BODY, 401),
        (lambda: {**signed(BODY), "webhook-signature": "v1,é"}, BODY, 401),
        (lambda: {**signed(BODY), "webhook-id": "é"}, BODY, 401),
        (lambda: signed(BODY, at=time.time() - 3600), BODY, 401),
        (lambda: signed(BODY, at=time.time() + 3600), BODY, 401),
        (lambda: signed(b"no json"), b"no json", 400),
        (lambda: signed(b"[]"), b"[]", 400),
        (lambda: signed(b'{"events": [1]}'), b'{"events": [1]}', 400),
        (lambda: signed(b"x" * 1_000_001), b"x" * 1_000_001, 413),
    ],
)
def test_anything_else_is_refused(
    make_headers: Callable[[], dict[str, str]], body: bytes, status: int
) -> None:
    with pytest.raises(WebhookRejected) as caught:
        verify(SECRET, make_headers(), body, seen=SeenIds())

    assert caught.value.status == status


class Kept(Outbox):
    """An outbox that keeps what it delivers, and when."""

    def __init__(self) -> None:
        self.delivered: list[tuple[float, dict[str, Any]]] = []
        super().__init__("kept")

    def deliver(self, events: list[dict[str, Any]]) -> None:
        self.delivered += [(time.monotonic(), event) for event in events]


def test_of_a_step_at_most_four_events_leave_in_a_second_and_the_last_is_the_latest() -> None:
    outbox, sent = Kept(), 0
    end = time.monotonic() + 6 * PACE_S
    while time.monotonic() < end:
        for step in ("one", "other"):
            outbox.send({"uuid": step, "n": sent})
        sent += 1
    outbox.close()

    for step in ("one", "other"):
        times = [at for at, event in outbox.delivered if event["uuid"] == step]
        # But for the last, which closing does not hold back.
        gaps = [later - at for at, later in itertools.pairwise(times)][:-1]
        assert min(gaps) >= PACE_S * 0.99
        assert [e["n"] for _, e in outbox.delivered if e["uuid"] == step][-1] == sent - 1


class Site:
    """A web server that answers webhooks with the statuses it was given, then with 204."""

    def __init__(self, *statuses: int) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        left = list(statuses)
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                names = {name.lower(): value for name, value in self.headers.items()}
                site.received.append((names, body))
                self.send_response(left.pop(0) if left else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/queue-progress"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self) -> list[dict[str, Any]]:
        """What arrived and verified, each batch once."""
        seen, found = SeenIds(), list[dict[str, Any]]()
        for headers, body in self.received:
            try:
                found += verify(SECRET, headers, body, seen=seen)
            except WebhookRejected as error:
                assert error.status == 409
        return found


def test_a_sender_s_events_arrive_signed_in_batches_with_the_latest_of_each_step() -> None:
    site = Site()
    sender = WebhookSender(site.url, SECRET)

    for percent in range(50):
        for step in ("a", "b"):
            sender.send({"uuid": step, "job_id": "j", "percent": percent})
    sender.close()
    site.server.shutdown()

    events = site.events()
    assert {e["uuid"]: e["percent"] for e in events} == {"a": 49, "b": 49}
    assert len(site.received) < 10


def test_a_sender_tries_again_and_gives_the_same_id() -> None:
    site = Site(503, 429)
    sender = WebhookSender(site.url, SECRET)

    sender.send({"uuid": "a", "job_id": "j", "percent": 1})
    wait_for(lambda: len(site.received) == 3, what="three tries")
    sender.close()
    site.server.shutdown()

    assert len({headers["webhook-id"] for headers, _ in site.received}) == 1
    assert len(site.events()) == 1


def test_a_sender_gives_up_what_is_refused_and_goes_on(store: JobStore) -> None:
    site = Site(401)
    sender = WebhookSender(site.url, SECRET)

    sender.send({"uuid": "a", "job_id": "j", "percent": 1})
    wait_for(lambda: len(site.received) == 1, what="the refused one")
    sender.send({"uuid": "a", "job_id": "j", "percent": 2})
    wait_for(lambda: len(site.received) == 2, what="the next one")
    sender.close()
    site.server.shutdown()


def test_a_step_beyond_its_end_is_not_shown_again(store: JobStore) -> None:
    """A late event of a finished step, while its job goes on."""
    job, hub = add_job(store), Hub()
    watcher = Watcher(store, hub, job)
    owner = Claims(store, "me")
    claimed = owner.claim(job.steps[0].id, "redis")
    assert isinstance(claimed, Claimed)
    owner.finish(claimed.step, Output("key", 1, "video/mp4"))
    hub.publish({**event(job, percent=100.0), "stage": "done"})
    wait_for(
        lambda: any(
            m and m["type"] == "snapshot" and m["job"]["steps"][0]["state"] == "done"
            for m in watcher.messages
        )
    )

    hub.publish(event(job, percent=99.0))
    hub.publish(event(job, step=1, percent=5.0))
    wait_for(lambda: watcher.told(5.0))
    store.cancel(job.id)

    of_first = [
        m for m in watcher.end()
        if m and m["type"] == "progress" and m["step_id"] == job.steps[0].id
    ]  # fmt: skip
    assert of_first == []


def test_secrets_change_one_end_after_the_other() -> None:
    old, new = ("whsec_" + base64.b64encode(text).decode() for text in (b"the old", b"the new"))
    now = int(time.time())
    for number, (sending, receiving) in enumerate(
        [
            (old, f"{old} {new}"),
            (f"{old} {new}", f"{old},\n{new}\n"),
            (f"{new} {old}", new),
            (new, new),
        ]
    ):
        headers = {
            "webhook-id": f"msg-{number}",
            "webhook-timestamp": str(now),
            "webhook-signature": sign(sending, f"msg-{number}", now, BODY),
        }
        assert verify(receiving, headers, BODY, seen=SeenIds()), (sending, receiving)
        with pytest.raises(WebhookRejected, match="different secrets"):
            verify("a third one", headers, BODY, seen=SeenIds())


def test_the_words_of_a_secret_are_no_secrets() -> None:
    now = str(int(time.time()))
    headers = {"webhook-id": "msg", "webhook-timestamp": now}
    headers["webhook-signature"] = sign("correct", "msg", int(now), BODY)
    with pytest.raises(WebhookRejected, match="different secrets"):
        verify("correct horse, battery", headers, BODY, seen=SeenIds())
