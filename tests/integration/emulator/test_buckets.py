"""An S3 server stands for R2: the emulator tells queues of its objects by their rules."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cutmv.transports.cloudflare.api.notifications import NotificationRule, add_notification_rule
from tests.support.emulator import EmulatorProcess
from tests.support.objects import Bucket
from tests.support.processes import wait_for
from tests.support.queues import client, queue_id
from tests.support.s3 import BUCKET, KEY_ID, SECRET

#: Seconds for a message to come.
SOON_S = 20
NEVER = 1e12
ACTIONS = ("PutObject", "DeleteObject")


@pytest.fixture
def emulator(
    tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmulatorProcess]:
    monkeypatch.setenv("R2_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", SECRET)
    running = EmulatorProcess(tmp_path / "queues.sqlite3", s3_url=s3_url)
    running.start()
    yield running
    running.kill()


def test_a_queue_is_told_of_what_is_put_and_deleted_by_its_rules(
    emulator: EmulatorProcess, s3_url: str
) -> None:
    bucket, folder = Bucket(s3_url), f"incoming-{uuid4().hex}/"
    key = f"{folder}new.mp4"
    api = client(emulator)
    api.create_queue("told", NEVER)
    told = queue_id(emulator, "told")

    def events() -> list[tuple[str, str]]:
        found = [json.loads(base64.b64decode(m["body"])) for m in api.peek(told, 100, NEVER)]
        assert all(each["bucket"] == BUCKET for each in found)
        return [(each["action"], each["object"]["key"]) for each in found]

    bucket.put(f"{folder}old.mp4", b"old")
    add_notification_rule(api, BUCKET, told, NotificationRule(folder, ACTIONS), NEVER)
    # Once something has come the bucket was seen: a rule tells of nothing that was there before.
    wait_for(lambda: bucket.put(key, b"first") or events(), SOON_S, "it is told")
    assert {*events()} == {("PutObject", key)}

    before = len(events())
    bucket.put(f"elsewhere-{folder}new.mp4", b"other")
    bucket.delete(key)
    wait_for(lambda: len(events()) > before, SOON_S, "what goes is told")
    assert ("DeleteObject", key) in events()
    assert {each for _, each in events()} == {key}
