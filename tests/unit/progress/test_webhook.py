"""Whom a webhook is believed from, and how events are sent to one."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from cutmv.config import ConfigError, Settings
from cutmv.database import now
from cutmv.jobs import JobStore
from cutmv.progress import (
    WEBHOOK,
    ProgressEvent,
    WebhookRejected,
    WebhookSender,
    accept,
    accepted_requests,
    check_secret,
    verify,
)
from cutmv.transports.cloudflare.edge.signature import TOLERANCE, Purpose, sign
from tests.support.processes import wait_for

SECRET = "whsec_" + base64.b64encode(b"a shared secret of some length").decode()


def signed(body: bytes, *, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    stamp = int(time.time() if at is None else at)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign(secret, WEBHOOK, "msg_1", stamp, body),
    }


BODY = json.dumps({"events": [{"uuid": "s", "job_id": "j"}]}).encode()


def verified(
    secret: str, headers: dict[str, str], body: bytes, taken: set[str] | None = None
) -> list[ProgressEvent]:
    """The events of a webhook, by one that knows which ids were taken."""
    known = set() if taken is None else taken

    def accept(request_id: str) -> bool:
        fresh = request_id not in known
        known.add(request_id)
        return fresh

    return verify(secret, headers, lambda: body, accept)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'jobs.db'}"


def test_a_signed_webhook_is_believed_once_by_all_processes(database_url: str) -> None:
    stores = [JobStore(database_url), JobStore(database_url)]
    first, other = (partial(accept, store) for store in stores)

    assert verify(SECRET, signed(BODY), lambda: BODY, first) == [ProgressEvent("s", "j")]
    for process in (first, other):
        with pytest.raises(WebhookRejected) as caught:
            verify(SECRET, signed(BODY), lambda: BODY, process)
        assert caught.value.status == 409


def test_the_ids_of_webhooks_are_kept_for_as_long_as_one_could_come_again(tmp_path: Path) -> None:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    assert accept(store, "old")
    with store.engine.begin() as db:
        db.execute(accepted_requests.update().values(expires_at=0.0))

    assert accept(store, "new")

    with store.reading() as db:
        [(kept, left_s)] = db.execute(
            sa.select(accepted_requests.c.id, accepted_requests.c.expires_at - now())
        ).all()
    assert kept == "new"
    # One that is signed by a clock that is ahead, and comes again once it is behind.
    assert left_s > 2 * TOLERANCE


def test_no_body_is_read_of_what_is_not_signed() -> None:
    def read() -> bytes:
        raise AssertionError("it was read")

    for headers in (
        {},
        signed(BODY, at=time.time() - 400),
        signed(BODY) | {"webhook-id": "i" * 256},
    ):
        with pytest.raises(WebhookRejected, match=r"not signed|too far from now"):
            verify(SECRET, headers, read, lambda _: True)


@pytest.mark.parametrize(
    "purpose",
    [
        replace(WEBHOOK, receiver="edge Worker"),
        replace(WEBHOOK, method="GET"),
        replace(WEBHOOK, target="/api/queue-progress?a=b"),
        replace(WEBHOOK, target="/api/jobs"),
    ],
)
def test_a_signature_of_another_direction_method_or_path_is_none(purpose: Purpose) -> None:
    headers = signed(BODY) | {"webhook-id": "msg_1"}
    now = int(headers["webhook-timestamp"])
    headers["webhook-signature"] = sign(SECRET, purpose, "msg_1", now, BODY)

    with pytest.raises(WebhookRejected, match="another request"):
        verified(SECRET, headers, BODY)


def test_the_signature_is_that_of_standard_webhooks_by_a_derived_key() -> None:
    """The example of its reference libraries, by HKDF and HMAC of the package cryptography."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'

    shown = sign(secret, WEBHOOK, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert shown == "v1,upnCGYPJW7iZroiy0e0klSGop2hMwiIObzW7FAYBBUk="


@pytest.mark.parametrize("secret", ["k" * 23, "whsec_" + base64.b64encode(b"k" * 23).decode()])
def test_a_short_secret_is_refused_where_reports_leave_or_reach_this_machine(
    tmp_path: Path, secret: str
) -> None:
    here = Settings(data_dir=tmp_path, database_url="", mode="eager", webhook_secret=secret)
    far = replace(here, webhook_url="https://cut.example.com/api/queue-progress")

    access = here.access
    by_url = replace(here, access=replace(access, hosts=("cut.example.com",)))  # of CUTMV_URL
    by_name = replace(here, access=replace(access, hosts=("localhost", "box.local")))
    reached = [(here, ["0.0.0.0"]), (by_url, ["127.0.0.1"]), (by_name, ["127.0.0.1"])]
    for settings, hosts in (*reached, (far, []), (far, ["127.0.0.1"])):
        with pytest.raises(
            ConfigError, match=r"WEBHOOK_SECRET, .* has less than 24 bytes"
        ) as caught:
            check_secret(settings, *hosts)
        assert secret not in str(caught.value)
        check_secret(replace(settings, webhook_secret="k" * 24), *hosts)

    check_secret(here)
    check_secret(replace(here, webhook_url="http://[::1]:8000"), "127.0.0.1", "localhost")


@pytest.mark.parametrize(("key", "short"), [("abc", True), ("k" * 23, True), ("k" * 24, False)])
def test_a_secret_that_is_derived_of_a_short_key_is_short(
    tmp_path: Path, key: str, *, short: bool
) -> None:
    env = {"CUTMV_DATA_DIR": str(tmp_path), "CUTMV_SECRET_KEY": key}
    settings = Settings.from_env({"CUTMV_MODE": "eager", **env})
    check_secret(settings, "127.0.0.1")
    if short:
        with pytest.raises(ConfigError, match="or CUTMV_SECRET_KEY where there is none, has less"):
            check_secret(settings, "0.0.0.0")
    else:
        check_secret(settings, "0.0.0.0")


def test_one_of_two_signatures_is_enough_while_a_secret_changes() -> None:
    headers = signed(BODY)
    other = signed(BODY, secret="another")["webhook-signature"]
    headers["webhook-signature"] = f"{other} {headers['webhook-signature']}"

    assert verified(SECRET, headers, BODY)


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
        (lambda: signed(b"[" * 400_000), b"[" * 400_000, 400),
    ],
)
def test_anything_else_is_refused(
    make_headers: Callable[[], dict[str, str]], body: bytes, status: int
) -> None:
    with pytest.raises(WebhookRejected) as caught:
        verified(SECRET, make_headers(), body)

    assert caught.value.status == status


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
            "webhook-signature": sign(sending, WEBHOOK, f"msg-{number}", now, BODY),
        }
        assert verified(receiving, headers, BODY), (sending, receiving)
        with pytest.raises(WebhookRejected, match="different secrets"):
            verified("a third one", headers, BODY)


def test_the_words_of_a_secret_are_no_secrets() -> None:
    now = str(int(time.time()))
    headers = {"webhook-id": "msg", "webhook-timestamp": now}
    headers["webhook-signature"] = sign("correct", WEBHOOK, "msg", int(now), BODY)
    with pytest.raises(WebhookRejected, match="different secrets"):
        verified("correct horse, battery", headers, BODY)


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

    def events(self) -> list[ProgressEvent]:
        """What arrived and verified, each batch once."""
        taken, found = set[str](), list[ProgressEvent]()
        for headers, body in self.received:
            try:
                found += verified(SECRET, headers, body, taken)
            except WebhookRejected as error:
                assert error.status == 409
        return found


def test_a_sender_s_events_arrive_signed_in_batches_with_the_latest_of_each_step() -> None:
    site = Site()
    sender = WebhookSender(site.url, SECRET)

    for percent in range(50):
        for step in ("a", "b"):
            sender.send(ProgressEvent(step, "j", percent=percent))
    sender.close()
    site.server.shutdown()

    events = site.events()
    assert {e.step_id: e.percent for e in events} == {"a": 49, "b": 49}
    assert len(site.received) < 10


def test_a_sender_tries_again_and_gives_the_same_id() -> None:
    site = Site(503, 429)
    sender = WebhookSender(site.url, SECRET)

    sender.send(ProgressEvent("a", "j", percent=1))
    wait_for(lambda: len(site.received) == 3, what="three tries")
    sender.close()
    site.server.shutdown()

    assert len({headers["webhook-id"] for headers, _ in site.received}) == 1
    assert len(site.events()) == 1


def test_a_sender_gives_up_what_is_refused_and_goes_on() -> None:
    site = Site(401)
    sender = WebhookSender(site.url, SECRET)

    sender.send(ProgressEvent("a", "j", percent=1))
    wait_for(lambda: len(site.received) == 1, what="the refused one")
    sender.send(ProgressEvent("a", "j", percent=2))
    wait_for(lambda: len(site.received) == 2, what="the next one")
    sender.close()
    site.server.shutdown()
