"""What a task makes of a step that another worker runs."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import Retry

from cutmv.worker import cut, tasks
from cutmv.worker.step import StepBusy


@pytest.mark.parametrize("retries", [0, 1])
def test_a_second_message_of_a_step_that_runs_comes_once_more_and_then_goes(
    retries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> Any:
        raise StepBusy(5.0)

    due: list[float] = []

    def retry(*_: Any, countdown: float, **__: Any) -> Retry:
        due.append(countdown)
        return Retry()

    monkeypatch.setattr(tasks, "_prepared", busy)
    monkeypatch.setattr(cut, "retry", retry)
    cut.push_request(id="step", retries=retries)
    try:
        if retries:
            assert cut.run("step") == {"id": "step", "state": "running"}
        else:
            with pytest.raises(Retry):
                cut.run("step")
    finally:
        cut.pop_request()
    assert due == ([] if retries else [6.0])
