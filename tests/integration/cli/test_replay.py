"""`cutmv queues dead` and `replay`: dead letters are shown, come back, and are never lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest

from cutmv.transports.cloudflare import admin
from cutmv.transports.cloudflare.admin import replay_dead_letters
from cutmv.transports.cloudflare.api import responses as answers
from cutmv.transports.cloudflare.errors import PublishFailed
from cutmv.transports.cloudflare.messages import claim_check
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.processes import clean_env
from tests.support.queues import ask, client, ids_in, make_dead, queue_id, run, send, texts
from tests.support.replay_dies_at import POINTS
from tests.support.transport import CloudflareSite, connect, make_site, noise, wait_until


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


def test_dead_shows_the_letters_of_every_queue_or_of_one_and_why(emulator: EmulatorProcess) -> None:
    make_dead(emulator, "one")
    send(emulator, "other", queue="other")
    client(emulator).publish(queue_id(emulator, "other-dead"), [("no json", None)], 1e12)

    dead_letters = ask(emulator, "dead")["dead_letters"]
    assert [(m["queue"], m["task_id"], m["why"]) for m in dead_letters] == [
        ("work", "one", "delivered 1 times, and never acked"),
        ("other", None, "can't be read: it is not JSON"),
    ]
    assert [m["task_id"] for m in ask(emulator, "dead", "work")["dead_letters"]] == ["one"]
    assert "delivered 1 times, and never acked" in run(emulator, "dead", "work").stdout


def test_replay_moves_every_letter_back_as_it_was(emulator: EmulatorProcess) -> None:
    task_ids = [f"task-{n}" for n in range(120)]
    make_dead(emulator, *task_ids)
    before = set(texts(emulator, "work-dead"))

    done = run(emulator, "replay", "work")

    assert done.stdout == "120 dead letter(s) are back in 'work'.\n"
    assert emulator.stats()["messages"] == {"work": 120, "work-dead": 0}
    assert before <= set(texts(emulator, "work"))


def test_replay_moves_as_many_as_told(emulator: EmulatorProcess) -> None:
    make_dead(emulator, "one", "two", "three")

    assert ask(emulator, "replay", "work", "-n", "2")["moved"] == 2
    assert sorted(ids_in(emulator, "work") + ids_in(emulator, "work-dead")) == [
        "one",
        "three",
        "two",
    ]
    assert len(ids_in(emulator, "work")) == 2


def test_replay_moves_the_tasks_it_is_told_and_says_which_are_not_there(
    emulator: EmulatorProcess,
) -> None:
    make_dead(emulator, "one", "two", "three")

    done = run(emulator, "replay", "work", "--task-id", "two", "--task-id", "nine")

    assert done.returncode == 1
    assert done.stdout == "1 dead letter(s) are back in 'work'.\n"
    assert done.stderr == "Error: not found: nine\n"
    assert ids_in(emulator, "work") == ["two"]
    assert sorted(ids_in(emulator, "work-dead")) == ["one", "three"]


def test_replay_leaves_what_can_t_be_read_and_looking_often_never_deletes_it(
    emulator: EmulatorProcess,
) -> None:
    make_dead(emulator, "one")
    dead = queue_id(emulator, "work-dead")
    client(emulator).publish(dead, [("no json", None)], 1e12)
    consumer = {"type": "http_pull", "settings": {"max_retries": 2}}
    client(emulator).create_consumer(dead, consumer, 1e12)

    for _ in range(5):
        document = ask(emulator, "replay", "work", "--task-id", "one")
        assert ids_in(emulator, "work") == ["one"]
        # Dies again, in its own way.
        with connect(emulator) as connection:
            connection.channel().basic_get("work").requeue()
    assert document["moved"] == 1
    document = ask(emulator, "replay", "work")

    assert (document["moved"], document["unreadable"]) == (1, 1)
    assert texts(emulator, "work-dead") == ["no json"]


def test_what_is_no_celery_task_is_shown_and_replayed_all_the_same(
    emulator: EmulatorProcess,
) -> None:
    make_dead(emulator, "one")
    odd = '{"body": "x", "headers": {"id": ["a"], "eta": 1}, "properties": {}}'
    client(emulator).publish(queue_id(emulator, "work-dead"), [(odd, None)], 1e12)

    assert [m["task_id"] for m in ask(emulator, "dead", "work")["dead_letters"]] == ["one", "['a']"]
    assert ask(emulator, "replay", "work")["moved"] == 2
    assert odd in texts(emulator, "work")


def test_copies_in_the_grave_do_not_hide_what_lies_behind_them(emulator: EmulatorProcess) -> None:
    make_dead(emulator, "one")
    (copy,) = texts(emulator, "work-dead")
    dead = queue_id(emulator, "work-dead")
    client(emulator).publish(dead, [(copy, None), (copy, None)], 1e12)
    client(emulator).publish(
        dead, [(copy.replace("one", "two").replace('"id":"', '"id":"2'), 0)], 1e12
    )

    # Two of three are copies of the first, and are left for who wants to run it again.
    assert ask(emulator, "replay", "work", "-n", "2")["moved"] == 2
    assert len(texts(emulator, "work")) == 2


def test_replay_from_a_shared_grave_wants_to_be_told_which(emulator: EmulatorProcess) -> None:
    make_dead(emulator, "one")
    send(emulator, "other", queue="other", dead_letter_queue="")
    other = queue_id(emulator, "other")
    (consumer,) = client(emulator).list_consumers(other, 1e12)
    again = {"type": "http_pull", "dead_letter_queue": "work-dead", "settings": {}}
    path = f"/queues/{other}/consumers/{consumer['consumer_id']}"
    client(emulator).call("PUT", path, answers.nothing, 1e12, again)

    done = run(emulator, "replay", "work")

    assert done.returncode == 1
    assert "holds the dead letters of other, work" in done.stderr
    assert ask(emulator, "replay", "work", "--task-id", "one")["moved"] == 1


def test_replay_says_how_far_it_came_and_keeps_letters_whose_publish_had_no_answer(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dead(emulator, "one", "two")
    emulator.faults({"route": "batch", "kind": "drop_after"})
    monkeypatch.setattr("cutmv.transports.cloudflare.admin.inspect.CALL_TIMEOUT", 1.0)
    for name, value in emulator.env().items():
        monkeypatch.setenv(name, value)

    with (
        admin.opened() as session,
        pytest.raises(PublishFailed, match=r"^0 dead letter\(s\) are back in queue 'work'; then: "),
    ):
        replay_dead_letters(session, admin.find(session, "work"))

    assert sorted(ids_in(emulator, "work-dead")) == ["one", "two"]
    assert set(ids_in(emulator, "work")) == {"one", "two"}, "copies under the same ids"


@pytest.mark.parametrize("point", POINTS)
def test_a_replay_killed_at_any_line_loses_nothing_and_keeps_the_ids(
    emulator: EmulatorProcess, point: str
) -> None:
    make_dead(emulator, "one", "two", "three")
    dead_letters = set(texts(emulator, "work-dead"))

    argv = ["-m", "tests.support.replay_dies_at", point, "work"]
    killed = run_python(*argv, env=clean_env(**emulator.env()))

    assert killed.returncode == -9
    published = point not in ("before the pull", "after the pull", "before the publish")
    acked = point == "after the ack"
    assert emulator.stats()["messages"] == {
        "work": 3 if published else 0,
        "work-dead": 0 if acked else 3,
    }
    wait_until(lambda: not emulator.stats()["leases_outstanding"], what="its leases end")
    ask(emulator, "replay", "work")
    # The same text: the same task id, and the same `id`, by which copies are told.
    assert set(texts(emulator, "work")) == dead_letters
    assert emulator.stats()["messages"]["work-dead"] == 0


@pytest.mark.slow
def test_a_message_whose_worker_dies_each_time_is_dead_and_runs_once_replayed(
    site: CloudflareSite, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    for deliveries in (1, 2):
        worker = site.ready(site.worker(visibility_timeout=2, queue_max_retries=1))
        if deliveries == 1:
            site.send("hold", "video", str(go))
        wait_until(lambda n=deliveries: len(site.notes("started")) == n, 30, "the task started")
        worker.kill()
    wait_until(lambda: site.backlog() == {"work": 0, "work-dead": 1}, 20, "it is dead")
    first, second = site.notes("started")
    assert (first["redelivered"], second["redelivered"]) == (False, True)

    (dead,) = ask(site.emulator, "dead", "work")["dead_letters"]
    assert dead["task_id"] == first["id"] == second["id"]
    assert dead["task"] == "tests.support.transport_app.hold"
    assert dead["why"] == "delivered 2 times, and never acked"

    assert ask(site.emulator, "replay", "work")["moved"] == 1
    go.touch()
    site.ready(site.worker())
    wait_until(lambda: site.notes("ended"), 30, "it ran")
    wait_until(lambda: site.backlog() == {"work": 0}, 20, "and is acked")
    assert site.notes("ended")[0]["id"] == first["id"]
    assert not site.notes("started")[2]["redelivered"]


def test_replay_renews_the_object_of_a_large_message(
    emulator: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_check, "OBJECT_RENEW_AFTER", -1)  # it has been there for long
    queue = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
    with connect(emulator, large_messages=tmp_path.as_uri(), queue_max_retries=0) as connection:
        producer = connection.Producer()
        producer.publish(noise(200_000), exchange="work", routing_key="work", declare=[queue])
        channel = connection.channel()
        message = channel.basic_get("work")
        message.requeue()
        wait_until(lambda: emulator.stats()["messages"]["work-dead"] == 1, what="it is dead")
        (stored,) = [p for p in (tmp_path / "large-messages").iterdir() if p.name[0] != "."]
        os.utime(stored, (0, 0))

        session = channel.session
        source = session.directory.get("work")
        assert replay_dead_letters(session, source).moved == 1

        assert stored.stat().st_mtime > 1_000_000
        again = channel.basic_get("work")
        assert again.payload == noise(200_000)
        again.ack()
