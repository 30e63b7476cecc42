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

from tests.support.emulator import EmulatorProcess
from tests.support.processes import clean_env
from tests.support.queues import ask, client, ids_in, queue_id, run, send
from tests.support.transport import CloudflareSite, connect, make_site


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
        "binding": False,
        "consumer": "http_pull",
        "paused": False,
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


def test_ls_hides_binding_queues_unless_told(emulator: EmulatorProcess) -> None:
    queue = kombu.Queue("news.me", kombu.Exchange("news", type="fanout"), auto_delete=True)
    with connect(emulator) as connection, kombu.Consumer(connection, [queue]):
        assert ask(emulator, "ls")["queues"] == []
        (row,) = ask(emulator, "ls", "--all")["queues"]

    assert row["binding"]
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


def test_purge_says_which_single_messages_are_not_there_though_an_answer_is_lost(
    emulator: EmulatorProcess,
) -> None:
    send(emulator, "one", "two")
    emulator.faults({"route": "purge_refs", "kind": "drop_after", "count": 1})

    done = run(emulator, "purge", "work", "--yes", "--task-id", "one", "--task-id", "nine")

    assert done.returncode == 1
    assert done.stdout == (
        "1 message(s) of 'work' are removed. An answer was lost: a worker may have taken some of "
        "them just before (one).\n"
    )
    assert done.stderr == "Error: not found: nine\n"
    assert ids_in(emulator, "work") == ["two"]


def test_a_paused_queue_says_so_and_delivers_nothing_until_it_is_resumed(
    emulator: EmulatorProcess,
) -> None:
    send(emulator, "one")

    assert ask(emulator, "pause", "work")["paused"] is True

    [row] = [each for each in ask(emulator, "ls")["queues"] if each["name"] == "work"]
    assert row["paused"] is True
    assert "paused" in run(emulator, "ls").stdout
    done = run(emulator, "resume", "work")
    assert done.stdout == "The messages of 'work' are delivered again.\n"
    [row] = [each for each in ask(emulator, "ls")["queues"] if each["name"] == "work"]
    assert row["paused"] is False


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


# --- orphans


@pytest.mark.slow
def test_orphans_are_deleted_and_binding_queues_in_use_are_not(
    site: CloudflareSite,
) -> None:
    gone = site.ready(site.worker())
    gone.kill()
    orphans = {row["cloudflare_name"] for row in _binding_queues(site)}
    assert orphans
    site.ready(site.worker())
    alive = {row["cloudflare_name"] for row in _binding_queues(site)} - orphans
    assert alive

    shown = ask(site.emulator, "delete-orphans", "--wait", "3", "--dry-run")
    assert set(shown["orphans"]) == orphans
    assert {row["cloudflare_name"] for row in _binding_queues(site)} == orphans | alive
    ask(site.emulator, "delete-orphans", "--wait", "3")

    assert {row["cloudflare_name"] for row in _binding_queues(site)} == alive
    assert "ERROR" not in (site.directory / "worker-1.log").read_text()


def test_without_binding_queues_there_is_nothing_to_wait_for(emulator: EmulatorProcess) -> None:
    done = run(emulator, "delete-orphans", "--wait", "50")

    assert done.stdout == "0 of 0 binding queue(s) are deleted.\n"


def _binding_queues(site: CloudflareSite) -> list[dict[str, Any]]:
    return [row for row in ask(site.emulator, "ls", "--all")["queues"] if row["binding"]]
