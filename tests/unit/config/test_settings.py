"""What the environment asks for."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cutmv.config import ConfigError, Settings, celery_config

CLOUDFLARE = {"CLOUDFLARE_ACCOUNT_ID": "acc", "CLOUDFLARE_API_TOKEN": "tok/en+secret"}
REDIS = {"REDIS_URL": "redis://:hunter2@127.0.0.1:6379/0"}
PUSH = {**CLOUDFLARE, "CLOUDFLARE_CONSUME": "push", "CLOUDFLARE_EDGE_KEYS": "key"}
R2 = {"R2_ACCESS_KEY_ID": "id", "R2_SECRET_ACCESS_KEY": "r2secret"}


def settings(tmp_path: Path, **env: str) -> Settings:
    return Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path), **env})


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        ({}, "eager"),
        (REDIS, "redis"),
        (CLOUDFLARE, "cloudflare"),
        ({**CLOUDFLARE, **REDIS}, "cloudflare"),
        ({**CLOUDFLARE, **REDIS, "CUTMV_MODE": "redis"}, "redis"),
        ({**CLOUDFLARE, "CUTMV_MODE": "eager"}, "eager"),
        ({"CLOUDFLARE_ACCOUNT_ID": "acc", **REDIS}, "redis"),
        ({"CLOUDFLARE_ACCOUNT_ID": "", "CLOUDFLARE_API_TOKEN": "", "REDIS_URL": ""}, "eager"),
    ],
)
def test_the_mode_follows_from_what_is_set(tmp_path: Path, env: dict[str, str], mode: str) -> None:
    assert settings(tmp_path, **env).mode == mode


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"CLOUDFLARE_API_TOKEN": "tok"}, "CLOUDFLARE_ACCOUNT_ID"),
        ({"CUTMV_MODE": "cloudflare"}, "CLOUDFLARE_API_TOKEN"),
        ({"CUTMV_MODE": "redis"}, "REDIS_URL"),
        ({"CUTMV_MODE": "cloud"}, "auto, cloudflare, redis or eager"),
        ({"REDIS_URL": "localhost:6379"}, "redis://"),
        ({"CLOUDFLARE_QUEUE_NAME": "Not_A_Queue"}, "CLOUDFLARE_QUEUE_NAME"),
        ({"R2_ACCESS_KEY_ID": "id"}, "R2_SECRET_ACCESS_KEY"),
        (R2, "R2_ENDPOINT_URL"),
        ({"DATABASE_URL": "mysql://host/db"}, "postgresql://"),
        ({"CUTMV_MAX_UPLOAD_BYTES": "10GB"}, "CUTMV_MAX_UPLOAD_BYTES"),
        ({"CUTMV_MAX_RETRIES": "-1"}, "CUTMV_MAX_RETRIES"),
        (
            {"CUTMV_MAX_DERIVATIVES_AHEAD": "9" * 19},
            "CUTMV_MAX_DERIVATIVES_AHEAD is '999",
        ),
        ({"CUTMV_MAX_CONNECTIONS": "9" * 5_000}, "CUTMV_MAX_CONNECTIONS is '999"),
        ({"WEBHOOK_URL": "example.com"}, "WEBHOOK_URL"),
        ({**CLOUDFLARE, "CLOUDFLARE_EDGE_URL": "edge.example"}, "CLOUDFLARE_EDGE_URL"),
        ({**CLOUDFLARE, "CLOUDFLARE_EDGE_URL": "https://e.example"}, "CLOUDFLARE_EDGE_KEYS"),
        ({**CLOUDFLARE, "CLOUDFLARE_CONSUME": "push"}, "CLOUDFLARE_EDGE_KEYS"),
        ({**CLOUDFLARE, "CLOUDFLARE_CONSUME": "poll"}, "pull or push"),
        ({**PUSH, "CLOUDFLARE_QUEUE_NAME": "q" * 59}, "58 at most"),
    ],
)
def test_a_wrong_variable_is_answered_with_one_line_that_says_what_to_do(
    tmp_path: Path, env: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, **env)

    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_that_failed_is_tried_again_three_times_or_as_often_as_is_set(
    tmp_path: Path,
) -> None:
    assert settings(tmp_path).max_retries == 3
    assert settings(tmp_path, CUTMV_MAX_RETRIES="0").max_retries == 0


def test_no_secret_is_in_the_repr_or_in_an_error(tmp_path: Path) -> None:
    everything = settings(tmp_path, **CLOUDFLARE, **REDIS, **R2, WEBHOOK_SECRET="hooksecret")

    for secret in ("tok/en", "hunter2", "r2secret", "hooksecret"):
        assert secret not in repr(everything)
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, REDIS_URL="http://:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_r2_is_found_by_the_account_when_no_endpoint_is_given(tmp_path: Path) -> None:
    found = settings(tmp_path, CLOUDFLARE_ACCOUNT_ID="acc", **R2)

    assert found.r2_endpoint_url == "https://acc.r2.cloudflarestorage.com"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://cutmv.example", "https://cutmv.example/api/queue-progress"),
        ("https://cutmv.example/", "https://cutmv.example/api/queue-progress"),
        ("https://proxy.example/hook", "https://proxy.example/hook"),
    ],
)
def test_a_webhook_url_that_names_only_the_site_gets_our_path(
    tmp_path: Path, given: str, used: str
) -> None:
    assert settings(tmp_path, WEBHOOK_URL=given).webhook_url == used


def test_processes_of_one_data_directory_find_the_same_webhook_secret(tmp_path: Path) -> None:
    first, second = settings(tmp_path / "a"), settings(tmp_path / "a")
    other = settings(tmp_path / "b")

    assert first.webhook_secret == second.webhook_secret != other.webhook_secret
    assert stat.S_IMODE((tmp_path / "a" / "secret_key").stat().st_mode) == 0o600


def test_processes_of_one_secret_key_find_the_same_webhook_secret(tmp_path: Path) -> None:
    first = settings(tmp_path / "a", CUTMV_SECRET_KEY="k")
    second = settings(tmp_path / "b", CUTMV_SECRET_KEY="k")

    assert first.webhook_secret == second.webhook_secret


CLOUDFLARE_AND_R2 = {
    "CLOUDFLARE_ACCOUNT_ID": "acc",
    "CLOUDFLARE_API_TOKEN": "tok",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "x" * 9,
}


def test_objects_of_others_have_a_queue_of_their_own(tmp_path: Path) -> None:
    env = {"CUTMV_DATA_DIR": str(tmp_path), **CLOUDFLARE_AND_R2}
    without = Settings.from_env(env)

    found = Settings.from_env({**env, "CUTMV_INCOMING_PREFIX": "/incoming"})

    assert without.incoming_queue_name is None
    assert without.queue_names == ("cutmv-processing",)
    assert found.incoming.prefix == "incoming/"
    assert found.queue_names == ("cutmv-processing", "cutmv-processing-incoming")
    options = celery_config(found)["broker_transport_options"]
    assert options["foreign_messages"] == {"cutmv-processing-incoming": "cutmv.object"}


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"CUTMV_INCOMING_PREFIX": "uploads/x"}, "CUTMV_INCOMING_PREFIX is 'uploads/x': use a"),
        ({"CUTMV_INCOMING_PREFIX": "jobs"}, "CUTMV_INCOMING_PREFIX is 'jobs': use a folder"),
        ({"CUTMV_INCOMING_PREFIX": "/"}, "CUTMV_INCOMING_PREFIX is '/': use a folder"),
        ({"CUTMV_INCOMING_PREFIX": "a\nb"}, "CUTMV_INCOMING_PREFIX is 'a.nb': use a folder"),
        ({"CUTMV_INCOMING_PREFIX": "x" * 300}, "use a folder of the bucket"),
        (
            {"CUTMV_INCOMING_PRESET": "reels"},
            "CUTMV_INCOMING_PRESET is set: set CUTMV_IN",
        ),
        ({"CUTMV_INCOMING_OWNER": "a@b.c"}, "CUTMV_INCOMING_OWNER is set: set CUTMV_IN"),
        (
            {"CUTMV_INCOMING_PREFIX": "in", "CUTMV_MODE": "eager"},
            "R2 tells of objects by",
        ),
        (
            {"CUTMV_INCOMING_PREFIX": "in", "CLOUDFLARE_QUEUE_NAME": "q" * 60},
            "use 54 at most with CUTMV_INCOMING_PREFIX",
        ),
    ],
)
def test_what_is_wrong_about_objects_of_others_is_one_line(
    tmp_path: Path, env: dict[str, str], line: str
) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path), **CLOUDFLARE_AND_R2, **env})
    assert "\n" not in str(caught.value)
