"""Whom a webhook is believed from, and how events are sent to one."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cutmv.progress import ProgressEvent, SeenIds, WebhookRejected, WebhookSender, verify
from cutmv.transports.cloudflare.edge.signature import sign
from tests.support.processes import wait_for

SECRET = "whsec_" + base64.b64encode(b"a shared secret of some length").decode()


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

    assert verify(SECRET, signed(BODY), BODY, seen=seen) == [ProgressEvent("s", "j")]
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
        seen, found = SeenIds(), list[ProgressEvent]()
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
