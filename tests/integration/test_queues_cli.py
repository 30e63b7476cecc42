"""`cutmv queues`, as a person runs it, against the emulator."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery import Celery

from cutmv.transports.cloudflare import admin, options
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import PublishFailed
from cutmv.transports.cloudflare.replay import replay
from tests.emulator_fixture import EmulatorProcess
from tests.processes import clean_env
from tests.replay_dies_at import POINTS
from tests.transport_helpers import CloudflareSite, connect, make_site, wait_until


def run(emulator: EmulatorProcess, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cutmv", "queues", *argv],
        env=clean_env(**emulator.env()),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ask(emulator: EmulatorProcess, *argv: str) -> dict[str, Any]:
    """Run a command with --json; return its document."""
    done = run(emulator, *argv, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["error"] is None
    return document


def client(emulator: EmulatorProcess) -> Client:
    return Client(
        options.Credentials(emulator.account_id, emulator.api_token),
        options.Options(api_base_url=emulator.base_url),
    )


def queue_id(emulator: EmulatorProcess, name: str) -> str:
    ids = {q["queue_name"]: q["queue_id"] for q in client(emulator).list_queues(1e12)}
    return str(ids[name])


def send(emulator: EmulatorProcess, *task_ids: str, queue: str = "work", **app: Any) -> None:
    """Send a task for each id, as an app does."""
    with Celery(
        "shop", broker=f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
    ) as sender:
        sender.conf.broker_transport_options = {"api_base_url": emulator.base_url, **app}
        for task_id in task_ids:
            sender.send_task("shop.pack", args=[1], task_id=task_id, queue=queue)


def bury(emulator: EmulatorProcess, *task_ids: str) -> None:
    """Have tasks die: each is delivered once and returned."""
    send(emulator, *task_ids, queue_max_retries=0)
    with connect(emulator) as connection:
        channel = connection.channel()
        for _ in task_ids:
            channel.basic_get("work").requeue()
    assert emulator.stats()["messages"] == {"work": 0, "work-dead": len(task_ids)}


def texts(emulator: EmulatorProcess, name: str) -> list[str]:
    return [m["body"] for m in client(emulator).peek(queue_id(emulator, name), 100, 1e12)]


def ids_in(emulator: EmulatorProcess, name: str) -> list[str]:
    return [json.loads(text)["headers"]["id"] for text in texts(emulator, name)]


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


# --- ls


def test_ls_shows_what_each_queue_is_and_holds(emulator: EmulatorProcess) -> None:
    send(emulator, "one", "two", queue="shop.Orders")

    rows = {row["name"]: row for row in ask(emulator, "ls")["queues"]}

    assert set(rows) == {"shop.Orders", "shop.Orders-dead"}
    row = rows["shop.Orders"]
    assert row.pop("backlog_bytes") > 500
    assert 0 <= row.pop("oldest_age_s") < 60
    assert row == {
        "name": "shop.Orders",
        "cloudflare_name": "q--shop-d-corders",
        "mailbox": False,
        "consumer": "http_pull",
        "max_retries": 100,
        "dead_letter_queue": "q--shop-d-corders-hdead",
        "backlog_count": 2,
    }
    dead = rows["shop.Orders-dead"]
    assert (dead["consumer"], dead["dead_letter_queue"], dead["oldest_age_s"]) == (None, None, None)


def test_ls_is_a_table_with_nothing_cut_off(emulator: EmulatorProcess) -> None:
    send(emulator, "one", queue="a" * 58)

    done = run(emulator, "ls")

    assert done.returncode == 0
    titles, row, *_ = done.stdout.splitlines()
    assert re.split(r"  +", titles.strip())[3:6] == ["retries", "dead letters go to", "messages"]
    assert row.split()[4] == "a" * 58 + "-dead"


def test_ls_hides_mailboxes_unless_told(emulator: EmulatorProcess) -> None:
    queue = kombu.Queue("news.me", kombu.Exchange("news", type="fanout"), auto_delete=True)
    with connect(emulator) as connection, kombu.Consumer(connection, [queue]):
        assert ask(emulator, "ls")["queues"] == []
        (row,) = ask(emulator, "ls", "--all")["queues"]

    assert row["mailbox"]
    assert row["name"] is None


def test_a_prefix_shows_the_apps_queues_by_the_names_it_knows(emulator: EmulatorProcess) -> None:
    send(emulator, "one", queue_name_prefix="shop-")
    send(emulator, "two", queue="other")

    document = ask(emulator, "--prefix", "shop-", "ls")

    assert [row["name"] for row in document["queues"]] == ["work", "work-dead"]
    assert len(ask(emulator, "--prefix", "shop-", "peek", "work")["messages"]) == 1


# --- peek and purge


def test_peek_shows_tasks_and_leases_nothing(emulator: EmulatorProcess) -> None:
    send(emulator, "one", "two", "three")
    client(emulator).publish(queue_id(emulator, "work"), [("no json", None)], 1e12)

    messages = ask(emulator, "peek", "work")["messages"]
    assert len(ask(emulator, "peek", "work", "-n", "2")["messages"]) == 2

    assert [(m["task"], m["task_id"], m["unreadable"]) for m in messages] == [
        ("shop.pack", "one", None),
        ("shop.pack", "two", None),
        ("shop.pack", "three", None),
        (None, None, "it is not JSON"),
    ]
    assert {m["attempts"] for m in messages} == {0}
    stats = emulator.stats()
    assert (stats["leases_outstanding"], stats["deliveries"]) == (0, 0)


def test_a_table_shows_what_messages_say_without_letting_it_steer_the_terminal(
    emulator: EmulatorProcess,
) -> None:
    send(emulator, "[red]one\x1b[2J")

    done = run(emulator, "peek", "work")

    assert "[red]one\N{REPLACEMENT CHARACTER}[2J" in done.stdout
    assert "\x1b" not in done.stdout


def test_purge_asks_and_does_nothing_unless_told_yes(emulator: EmulatorProcess) -> None:
    send(emulator, "one", "two")

    done = run(emulator, "purge", "work", stdin="n\n")
    assert done.returncode == 1
    assert ids_in(emulator, "work") == ["one", "two"]

    assert ask(emulator, "purge", "work", "--yes")["removed"] == 2
    assert emulator.stats()["messages"]["work"] == 0


def test_purge_removes_single_messages(emulator: EmulatorProcess) -> None:
    send(emulator, "one", "two", "three")
    ref = ask(emulator, "peek", "work")["messages"][0]["ref"]

    done = run(emulator, "purge", "work", "--yes", "--ref", ref, "--task-id", "three")

    assert done.stdout == "2 message(s) of 'work' are removed.\n"
    assert ids_in(emulator, "work") == ["two"]


def test_purge_says_which_single_messages_are_not_there(emulator: EmulatorProcess) -> None:
    send(emulator, "one", "two")

    done = run(emulator, "purge", "work", "--yes", "--task-id", "one", "--task-id", "nine")

    assert done.returncode == 1
    assert done.stderr == "Error: not found: nine\n"
    assert ids_in(emulator, "work") == ["two"]


# --- errors


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("peek", "nowhere"), "the account has no queue 'nowhere'; `cutmv queues ls` shows"),
        (("dead", "plain"), "queue 'plain' has no dead-letter queue"),
        (("replay", "plain"), "queue 'plain' has no dead-letter queue"),
    ],
)
def test_what_fails_is_one_line_and_exit_code_1(
    emulator: EmulatorProcess, argv: tuple[str, ...], line: str
) -> None:
    send(emulator, "one", queue="plain", dead_letter_queue="")

    done = run(emulator, *argv)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {line}")
    assert done.stderr.count("\n") == 1
    document = json.loads(run(emulator, *argv, "--json").stdout)
    assert document["error"].startswith(line)


def test_a_missing_token_is_named_and_a_wrong_one_is_not_shown(emulator: EmulatorProcess) -> None:
    env = {**emulator.env(), "CLOUDFLARE_API_TOKEN": ""}
    command = [sys.executable, "-m", "cutmv", "queues", "ls"]
    done = subprocess.run(
        command, env=clean_env(**env), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "CLOUDFLARE_API_TOKEN missing" in done.stderr

    env["CLOUDFLARE_API_TOKEN"] = "s3cret"
    done = subprocess.run(
        command, env=clean_env(**env), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "refused the API token" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    "argv", [("peek",), ("peek", "work", "-n", "0"), ("replay", "w", "-n", "1", "--task-id", "x")]
)
def test_bad_usage_is_exit_code_2(emulator: EmulatorProcess, argv: tuple[str, ...]) -> None:
    assert run(emulator, *argv).returncode == 2


# --- dead and replay


def test_dead_shows_the_letters_of_every_queue_or_of_one_and_why(emulator: EmulatorProcess) -> None:
    bury(emulator, "one")
    send(emulator, "other", queue="other")
    client(emulator).publish(queue_id(emulator, "other-dead"), [("no json", None)], 1e12)

    letters = ask(emulator, "dead")["letters"]
    assert [(m["queue"], m["task_id"], m["why"]) for m in letters] == [
        ("work", "one", "delivered 1 times, and never acked"),
        ("other", None, "can't be read: it is not JSON"),
    ]
    assert [m["task_id"] for m in ask(emulator, "dead", "work")["letters"]] == ["one"]
    assert "delivered 1 times, and never acked" in run(emulator, "dead", "work").stdout


def test_replay_moves_every_letter_back_as_it_was(emulator: EmulatorProcess) -> None:
    task_ids = [f"task-{n}" for n in range(120)]
    bury(emulator, *task_ids)
    before = set(texts(emulator, "work-dead"))

    done = run(emulator, "replay", "work")

    assert done.stdout == "120 dead letter(s) are back in 'work'.\n"
    assert emulator.stats()["messages"] == {"work": 120, "work-dead": 0}
    assert before <= set(texts(emulator, "work"))


def test_replay_moves_as_many_as_told(emulator: EmulatorProcess) -> None:
    bury(emulator, "one", "two", "three")

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
    bury(emulator, "one", "two", "three")

    done = run(emulator, "replay", "work", "--task-id", "two", "--task-id", "nine")

    assert done.returncode == 1
    assert done.stdout == "1 dead letter(s) are back in 'work'.\n"
    assert done.stderr == "Error: not found: nine\n"
    assert ids_in(emulator, "work") == ["two"]
    assert sorted(ids_in(emulator, "work-dead")) == ["one", "three"]


def test_replay_leaves_what_can_t_be_read_and_looking_often_never_deletes_it(
    emulator: EmulatorProcess,
) -> None:
    bury(emulator, "one")
    grave = queue_id(emulator, "work-dead")
    client(emulator).publish(grave, [("no json", None)], 1e12)
    consumer = {"type": "http_pull", "settings": {"max_retries": 2}}
    client(emulator).create_consumer(grave, consumer, 1e12)

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


def test_replay_from_a_shared_grave_wants_to_be_told_which(emulator: EmulatorProcess) -> None:
    bury(emulator, "one")
    send(emulator, "other", queue="other", dead_letter_queue="")
    other = queue_id(emulator, "other")
    (consumer,) = client(emulator).list_consumers(other, 1e12)
    again = {"type": "http_pull", "dead_letter_queue": "work-dead", "settings": {}}
    client(emulator)._call(
        "PUT", f"/queues/{other}/consumers/{consumer['consumer_id']}", 1e12, again
    )

    done = run(emulator, "replay", "work")

    assert done.returncode == 1
    assert "holds the dead letters of other, work" in done.stderr
    assert ask(emulator, "replay", "work", "--task-id", "one")["moved"] == 1


def test_replay_says_how_far_it_came_and_keeps_letters_whose_publish_had_no_answer(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(emulator, "one", "two")
    emulator.faults({"route": "batch", "kind": "drop_after"})
    monkeypatch.setattr("cutmv.transports.cloudflare.admin.CALL_TIMEOUT", 1.0)
    for name, value in emulator.env().items():
        monkeypatch.setenv(name, value)

    with (
        admin.opened() as session,
        pytest.raises(PublishFailed, match=r"^0 dead letter\(s\) are back in queue 'work'; then: "),
    ):
        replay(session, admin.find(session, "work"))

    assert sorted(ids_in(emulator, "work-dead")) == ["one", "two"]
    assert set(ids_in(emulator, "work")) == {"one", "two"}, "copies under the same ids"


@pytest.mark.parametrize("point", POINTS)
def test_a_replay_killed_at_any_line_loses_nothing_and_keeps_the_ids(
    emulator: EmulatorProcess, point: str
) -> None:
    bury(emulator, "one", "two", "three")
    letters = set(texts(emulator, "work-dead"))

    killed = subprocess.run(
        [sys.executable, "-m", "tests.replay_dies_at", point, "work"],
        env=clean_env(**emulator.env()),
        check=False,
        timeout=60,
    )

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
    assert set(texts(emulator, "work")) == letters
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

    (letter,) = ask(site.emulator, "dead", "work")["letters"]
    assert letter["task_id"] == first["id"] == second["id"]
    assert letter["task"] == "tests.transport_app.hold"
    assert letter["why"] == "delivered 2 times, and never acked"

    assert ask(site.emulator, "replay", "work")["moved"] == 1
    go.touch()
    site.ready(site.worker())
    wait_until(lambda: site.notes("ended"), 30, "it ran")
    wait_until(lambda: site.backlog() == {"work": 0}, 20, "and is acked")
    assert site.notes("ended")[0]["id"] == first["id"]
    assert not site.notes("started")[2]["redelivered"]


# --- orphans


@pytest.mark.slow
def test_orphans_are_deleted_and_mailboxes_in_use_are_not(
    site: CloudflareSite,
) -> None:
    gone = site.ready(site.worker())
    gone.kill()
    orphans = {row["cloudflare_name"] for row in _mailboxes(site)}
    assert orphans
    site.ready(site.worker())
    alive = {row["cloudflare_name"] for row in _mailboxes(site)} - orphans
    assert alive

    shown = ask(site.emulator, "delete-orphans", "--wait", "3", "--dry-run")
    assert set(shown["orphans"]) == orphans
    assert {row["cloudflare_name"] for row in _mailboxes(site)} == orphans | alive
    ask(site.emulator, "delete-orphans", "--wait", "3")

    assert {row["cloudflare_name"] for row in _mailboxes(site)} == alive
    assert "ERROR" not in (site.directory / "worker-1.log").read_text()


def test_without_mailboxes_there_is_nothing_to_wait_for(emulator: EmulatorProcess) -> None:
    done = run(emulator, "delete-orphans", "--wait", "50")

    assert done.stdout == "0 of 0 mailbox(es) are deleted.\n"


def _mailboxes(site: CloudflareSite) -> list[dict[str, Any]]:
    return [row for row in ask(site.emulator, "ls", "--all")["queues"] if row["mailbox"]]
