"""`cutmv.web.door`: which names the server answers to, and when people must sign in."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cutmv.config import ConfigError, Settings
from cutmv.web.door import Door


def settings(folder: Path, **env: str) -> Settings:
    return Settings.from_env({"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(folder), **env})


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["127.8.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["127.0.0.1", "::1"]]
)
def test_nobody_signs_in_where_the_server_listens_on_loopback_alone(
    tmp_path: Path, addresses: list[str]
) -> None:
    assert not Door.of(settings(tmp_path), addresses).sign_in


@pytest.mark.parametrize(
    "addresses",
    [
        ["0.0.0.0"],
        ["::"],
        ["192.168.1.5"],
        ["127.0.0.1", "192.168.1.5"],
        [""],
        ["/run/s"],
        [],
        None,
    ],
)
def test_people_sign_in_wherever_else_it_listens_or_may(
    tmp_path: Path, addresses: list[str] | None
) -> None:
    assert Door.of(settings(tmp_path), addresses).sign_in


def test_people_sign_in_on_loopback_when_that_is_asked_for(tmp_path: Path) -> None:
    assert Door.of(settings(tmp_path, CUTMV_SIGN_IN="always"), ["127.0.0.1"]).sign_in


@pytest.mark.parametrize(
    ("url", "sign_in"),
    [
        ("https://cut.example.com", True),
        ("http://192.168.1.5:8000", True),
        ("http://localhost:8000", False),
        ("http://127.0.0.1:8000", False),
    ],
)
def test_people_sign_in_where_others_reach_the_server_by_a_proxy(
    tmp_path: Path, url: str, sign_in: bool
) -> None:
    door = Door.of(settings(tmp_path, CUTMV_URL=url), ["127.0.0.1"])

    assert door.sign_in is sign_in
    assert door.answers_to(url.partition("://")[2])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "127.0.0.1:80",
        "10.0.0.9",
        "[::1]",
        "[::1]:8000",
    ],
)
def test_the_server_answers_to_localhost_and_to_addresses(tmp_path: Path, host: str) -> None:
    assert Door.of(settings(tmp_path), ["127.0.0.1"]).answers_to(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.localhost",
        "",
        "localhost:8000:1",
        "a@localhost",
        "localhost, evil.example",
        "[evil.example]",
        "2130706433",
        "loc\u0430lhost",
    ],
)
def test_the_server_answers_to_no_other_name(tmp_path: Path, host: str) -> None:
    assert not Door.of(settings(tmp_path), ["127.0.0.1"]).answers_to(host)
    assert not Door.of(settings(tmp_path), ["0.0.0.0"]).answers_to(host)


def test_the_server_answers_to_the_names_in_the_settings(tmp_path: Path) -> None:
    named = settings(tmp_path, CUTMV_HOSTS="Cut.Example.com, studio")
    for addresses in (["127.0.0.1"], ["0.0.0.0"]):
        door = Door.of(named, addresses)
        assert door.answers_to("cut.example.com:8000")
        assert door.answers_to("studio")
        assert not door.answers_to("www.cut.example.com")


def test_the_server_answers_to_the_name_that_it_was_told_to_listen_on(tmp_path: Path) -> None:
    door = Door.of(settings(tmp_path), ["192.168.1.5"], ["studio.lan"])
    assert door.answers_to("studio.lan:8000")
    assert door.answers_to(socket.gethostname())
    assert not Door.of(settings(tmp_path), ["127.0.0.1"]).answers_to(socket.gethostname())


@pytest.mark.parametrize("hosts", ["http://cut.example.com", "cut.example.com:8000", "*", "a,,-b"])
def test_what_is_no_name_is_refused_at_the_start(tmp_path: Path, hosts: str) -> None:
    with pytest.raises(ConfigError, match="CUTMV_HOSTS"):
        settings(tmp_path, CUTMV_HOSTS=hosts)


def test_a_wrong_way_to_sign_in_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CUTMV_SIGN_IN is 'never': use auto or always"):
        settings(tmp_path, CUTMV_SIGN_IN="never")
    with pytest.raises(ConfigError, match="is 'admins': use optional, administrators or everybo"):
        settings(tmp_path, CUTMV_SECOND_FACTOR="admins")
    with pytest.raises(ConfigError, match="CUTMV_WEBHOOK_TARGETS is 'some': use public or any"):
        settings(tmp_path, CUTMV_WEBHOOK_TARGETS="some")
