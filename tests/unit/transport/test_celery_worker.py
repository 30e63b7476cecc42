"""What the transport asks of a Celery worker of this process."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    expires, workers = state.revoked.expires, celery_worker._workers[:]
    yield
    state.revoked.expires, celery_worker._workers[:] = expires, workers


@pytest.mark.parametrize(
    ("of_celery", "here"), [(10_800, 14 * 86_400), (60, 60)], ids=["default", "set"]
)
def test_a_revoke_is_remembered_for_as_long_as_a_task_may_wait(of_celery: int, here: int) -> None:
    state.revoked.expires = of_celery
    worker: Any = SimpleNamespace(app=SimpleNamespace(steps={"consumer": set()}))
    celery_worker._on_worker_init(worker)
    assert state.revoked.expires == here
    assert celery_worker.present()
