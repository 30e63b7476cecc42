"""`cutmv people`: each of its commands on a real database, and what it says to wrong input."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyotp
import pytest

from cutmv.config import Settings
from cutmv.database import HEAD
from cutmv.people import TokenKind, new_app_secret
from cutmv.services import Services
from cutmv.services import services as opened
from tests.support.command import Done, cutmv
from tests.support.jobs import an_upload

BOSS, ADA, PASSWORD = "boss@example.com", "ada@example.com", "correct horse battery"


@contextmanager
def deployment(folder: Path) -> Iterator[Services]:
    """One with an administrator."""
    services = Services.open(Settings.from_env({"CUTMV_DATA_DIR": str(folder)}))
    services.accounts.add(BOSS, password=PASSWORD, is_admin=True)
    yield services
    services.store.close()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with deployment(tmp_path) as services:
        yield services


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Those of tests that change nothing."""
    with deployment(tmp_path_factory.mktemp("untouched")) as services:
        yield services


def people(services: Services, *argv: str, **env: str) -> Done:
    return cutmv("people", *argv, CUTMV_DATA_DIR=str(services.settings.data_dir), **env)


def token_of(done: Done) -> str:
    """The secret of the link that was printed."""
    printed = re.search(r"/link/password/([\w-]+)", done.stdout)
    assert done.returncode == 0 and printed, done
    return printed[1]


def test_who_has_lost_the_app_signs_in_without_a_code(services: Services) -> None:
    boss, secret = services.accounts.find(BOSS), new_app_secret()
    assert boss is not None
    services.second_factors.turn_on(str(boss.id), secret, pyotp.TOTP(secret).now())
    assert people(services, "ls").stdout == f"{BOSS}  administrator  second factor\n"

    done = people(services, "reset-second-factor", BOSS)

    assert done.returncode == 0, done
    assert people(services, "ls").stdout == f"{BOSS}  administrator\n"


def test_somebody_is_invited_by_a_link_and_gets_another(services: Services) -> None:
    invited = people(services, "invite", ADA, CUTMV_URL="https://cut.example.com/")
    again = people(services, "link", ADA)

    assert invited.stdout.startswith("https://cut.example.com/link/password/")
    for done in (invited, again):
        person = services.sessions.person(token_of(done), TokenKind.PASSWORD)
        assert person and (person.email, person.is_admin) == (ADA, False)
    assert people(services, "invite", "eve@example.com", "--admin").returncode == 0
    eve = services.accounts.find("eve@example.com")
    assert eve and eve.is_admin


def test_accounts_are_listed_kept_out_and_let_in_again(services: Services) -> None:
    person = services.accounts.add(ADA, password=PASSWORD)
    ada, session = str(person.id), services.sessions.begin(person)

    assert people(services, "disable", ADA).returncode == 0
    assert services.sessions.person(session) is None
    assert people(services, "quota", ADA, "uploads=2", "sockets=0").returncode == 0
    listed = people(services, "ls").stdout.splitlines()
    assert listed == [f"{BOSS}  administrator", f"{ADA}  person  disabled  uploads=2 sockets=0"]

    assert people(services, "enable", ADA).returncode == 0
    assert services.accounts.signed_in(ADA, PASSWORD)
    assert people(services, "quota", ADA).stdout == "all as for everybody\n"
    assert services.accounts.get(ada).quotas == {}
    services.accounts.add("eve@example.com")
    assert people(services, "ls").stdout.splitlines()[1:] == [
        f"{ADA}  person",
        "eve@example.com  person  no password yet",
    ]


def test_an_account_is_deleted_with_all_it_has_once_that_is_confirmed(services: Services) -> None:
    ada = str(services.accounts.add(ADA).id)
    upload = an_upload()
    file = services.settings.data_dir / "files" / upload.key
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a video")
    services.store.add_upload(replace(upload, person_id=ada))

    assert people(services, "delete", ADA).returncode == 1, "nobody confirmed it"
    assert file.exists() and services.accounts.find(ADA)
    assert people(services, "delete", ADA, "--yes").returncode == 0

    assert services.accounts.find(ADA) is None
    assert not services.store.has_uploads()
    assert not file.exists()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("invite", "nobody"), "This is no e-mail address"),
        (("invite", BOSS), "There is an account of boss@example.com already."),
        (("link", ADA), "There is no account of ada@example.com."),
        (("disable", ADA), "There is no account of ada@example.com."),
        (("enable", ADA), "There is no account of ada@example.com."),
        (("quota", ADA), "There is no account of ada@example.com."),
        (("delete", ADA, "--yes"), "There is no account of ada@example.com."),
        (("quota", BOSS, "uploads"), "'uploads' is no NAME=NUMBER with a name of uploads,"),
        (("quota", BOSS, "wishes=3"), "'wishes=3' is no NAME=NUMBER"),
        (("quota", BOSS, "uploads=-1"), "'uploads=-1' is no NAME=NUMBER"),
        (("quota", BOSS, "uploads=" + "9" * 5000), "'uploads=999"),
        (("disable", BOSS), "This is the last administrator"),
        (("delete", BOSS, "--yes"), "This is the last administrator"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(
    untouched: Services, argv: tuple[str, ...], told: str
) -> None:
    before = untouched.accounts.all()

    done = people(untouched, *argv)

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {told}"), done.stderr
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert untouched.accounts.all() == before


def test_no_link_is_made_for_a_disabled_account(services: Services) -> None:
    services.accounts.disable(str(services.accounts.add(ADA).id))

    done = people(services, "link", ADA)

    assert (done.returncode, done.stderr) == (1, "Error: The account is disabled or deleted.\n")


@pytest.mark.parametrize("command", [("people", "ls"), ("delete", "job", "x", "--yes")])
def test_settings_and_databases_that_can_not_be_used_are_told_in_one_line(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    folders = [tmp_path / name for name in ("newer", "broken", "unset")]
    for folder in folders:
        folder.mkdir()
    Services.open(Settings.from_env({"CUTMV_DATA_DIR": str(folders[0])})).store.close()
    with sqlite3.connect(folders[0] / "cutmv.db") as db:
        db.execute(f"update alembic_version set version_num = '{HEAD + 1}'")
    db.close()
    (folders[1] / "cutmv.db").write_bytes(b"no database" * 1000)

    for folder, env in zip(folders, ({}, {}, {"CUTMV_MAX_UPLOADS": "many"}), strict=True):
        opened.cache_clear()  # else `cutmv delete` keeps to the first
        done = cutmv(*command, CUTMV_DATA_DIR=str(folder), **env)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
        assert done.stderr.startswith("Error: "), done


def test_somebody_is_made_an_administrator_and_gets_another_address(services: Services) -> None:
    services.accounts.add(ADA, password=PASSWORD)

    assert people(services, "promote", ADA).returncode == 0
    assert people(services, "address", ADA, "ada@example.org").returncode == 0

    found = services.accounts.find("ada@example.org")
    assert found is not None and found.is_admin
    assert people(services, "demote", "ada@example.org").returncode == 0
    last = people(services, "demote", BOSS)
    assert (last.returncode, last.stderr.count("\n")) == (1, 1), last
    taken = people(services, "address", "ada@example.org", BOSS)
    assert taken.returncode == 1 and "There is an account of this address already" in taken.stderr
