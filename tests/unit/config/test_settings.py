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


def test_where_a_worker_pushes_there_is_a_queue_that_is_pulled_for_long_steps(
    tmp_path: Path,
) -> None:
    here = settings(tmp_path, **PUSH)
    config = celery_config(here)

    assert here.long_queue_name == "cutmv-processing-long"
    assert [queue.name for queue in config["task_queues"]] == list(here.queue_names)
    assert config["broker_transport_options"]["pulled_queues"] == [here.long_queue_name]
    # And nowhere else.
    for env in (CLOUDFLARE, {**PUSH, "CUTMV_MODE": "eager"}):
        other = settings(tmp_path, **env)
        assert other.queue_names == (other.long_queue_name,) == ("cutmv-processing",)
        assert "pulled_queues" not in celery_config(other).get("broker_transport_options", {})


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


def test_no_secret_is_in_the_repr_or_in_an_error(tmp_path: Path) -> None:
    everything = settings(tmp_path, **CLOUDFLARE, **REDIS, **R2, WEBHOOK_SECRET="hooksecret")

    for secret in ("tok/en", "hunter2", "r2secret", "hooksecret"):
        assert secret not in repr(everything)
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, REDIS_URL="http://:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_the_cloudflare_broker_has_the_account_and_the_quoted_token(tmp_path: Path) -> None:
    config = celery_config(settings(tmp_path, **CLOUDFLARE))

    assert config["broker_url"] == "cloudflare://:tok%2Fen%2Bsecret@acc"
    assert config["task_default_queue"] == "cutmv-processing"


@pytest.mark.parametrize(
    ("env", "backend"),
    [
        ({}, "db+sqlite:///"),
        (REDIS, "cutmv.worker.results:RedisResults+redis://"),
        (CLOUDFLARE, "db+sqlite:///"),
        ({**CLOUDFLARE, **R2}, "s3"),
        ({**CLOUDFLARE, "DATABASE_URL": "postgres://h/d"}, "db+postgresql+psycopg://h/d"),
    ],
)
def test_results_go_where_the_mode_keeps_them(
    tmp_path: Path, env: dict[str, str], backend: str
) -> None:
    config = celery_config(settings(tmp_path, **env))

    assert config["result_backend"].startswith(backend)


def test_every_mode_takes_json_only_and_acknowledges_late(tmp_path: Path) -> None:
    for env in ({}, REDIS, CLOUDFLARE):
        config = celery_config(settings(tmp_path, **env))
        assert config["accept_content"] == ["json"]
        assert config["task_acks_late"] is config["task_reject_on_worker_lost"] is True
        assert config["worker_prefetch_multiplier"] == 1


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


@pytest.mark.parametrize(
    ("env", "ledger"),
    [
        (CLOUDFLARE, "file:///"),
        ({**CLOUDFLARE, **REDIS}, "env:REDIS_URL"),  # by name: it may have a password
        ({**CLOUDFLARE, **R2}, "r2://cutmv-storage/celery"),
    ],
)
def test_workers_note_what_they_hold_where_they_share_the_rest(
    tmp_path: Path, env: dict[str, str], ledger: str
) -> None:
    options = celery_config(settings(tmp_path, **env))["broker_transport_options"]

    assert options["lease_ledger"].startswith(ledger)
