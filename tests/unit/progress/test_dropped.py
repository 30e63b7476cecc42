"""Events that nobody gets are counted."""

from __future__ import annotations

import httpx
import pytest

from cutmv.app import app
from cutmv.progress import EventSender, ProgressEvent, WebhookSender, dropped_events

EVENTS = [ProgressEvent("one", "job", percent=1.0), ProgressEvent("two", "job", percent=1.0)]


def test_a_batch_that_the_webhook_refuses_for_good_is_lost() -> None:
    answers = iter([401, 204])
    transport = httpx.MockTransport(lambda _: httpx.Response(next(answers)))
    sender = WebhookSender("http://127.0.0.1:9/api/queue-progress", "s" * 24)
    sender._client = httpx.Client(transport=transport)
    before = dropped_events()

    sender.deliver(EVENTS)
    assert dropped_events() == before + 2
    sender.deliver(EVENTS)
    assert dropped_events() == before + 2
    sender.close()


def test_events_that_the_broker_does_not_take_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = EventSender(app, "w1@host")

    def away(**_: object) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(app.events, "default_dispatcher", away)
    before = dropped_events()

    sender.deliver(EVENTS)

    assert dropped_events() == before + 2
    sender.close()
