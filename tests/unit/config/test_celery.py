"""Celery's configuration for what the environment asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cutmv.config import Settings, celery_config

CLOUDFLARE = {"CLOUDFLARE_ACCOUNT_ID": "acc", "CLOUDFLARE_API_TOKEN": "tok/en+secret"}
REDIS = {"REDIS_URL": "redis://:hunter2@127.0.0.1:6379/0"}
PUSH = {**CLOUDFLARE, "CLOUDFLARE_CONSUME": "push", "CLOUDFLARE_EDGE_KEYS": "key"}
EDGE = {"CLOUDFLARE_EDGE_URL": "https://edge.example", "CLOUDFLARE_EDGE_KEYS": "key"}
R2 = {"R2_ACCESS_KEY_ID": "id", "R2_SECRET_ACCESS_KEY": "r2secret"}


def settings(tmp_path: Path, **env: str) -> Settings:
    return Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path), **env})


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
        ({**CLOUDFLARE, **R2, **EDGE}, "cloudflare://"),
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


@pytest.mark.parametrize(
    ("env", "ledger", "store"),
    [
        (CLOUDFLARE, None, "file:///"),
        ({**CLOUDFLARE, **REDIS}, "env:REDIS_URL", "file:///"),  # by name: it may have a password
        ({**CLOUDFLARE, **R2}, None, "r2://cutmv-storage/celery"),
        ({**CLOUDFLARE, **R2, **REDIS}, "env:REDIS_URL", "r2://cutmv-storage/celery"),
        ({**CLOUDFLARE, **REDIS, **EDGE}, None, "file:///"),
    ],
)
def test_workers_find_their_ledger_at_the_edge_in_redis_or_where_large_messages_are(
    tmp_path: Path, env: dict[str, str], ledger: str | None, store: str
) -> None:
    options = celery_config(settings(tmp_path, **env))["broker_transport_options"]

    assert options.get("lease_ledger") == ledger  # none told: the transport finds it
    assert options["large_messages"].startswith(store)
