"""The progress event: the forms in which it travels, there and back."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cutmv.jobs import JobRequest, State, Step, Upload, plan_job
from cutmv.media import Progress
from cutmv.progress import ProgressEvent
from cutmv.web.api.models import ProgressEventIn
from tests.support.jobs import video_info

EVENT = ProgressEvent("step", "job", "cutting", 12.5, 30.0, 1.5, 2.0, 1.0)

#: The fields of Celery's custom event, which others listen for too.
WIRE = {
    "uuid": "step",
    "job_id": "job",
    "stage": "cutting",
    "percent": 12.5,
    "fps": 30.0,
    "speed": 1.5,
    "eta_s": 2.0,
    "out_time_s": 1.0,
}


def a_step(**state: Any) -> Step:
    upload = Upload("u", "song.mp4", 1, "video/mp4", "uploads/u/source", video_info(), 0.0)
    step = plan_job(upload, JobRequest(upload_id="u", clips=("0-1",))).steps[0]
    return dataclasses.replace(step, **state)


def test_the_wire_form_is_the_celery_event_s() -> None:
    assert EVENT.to_wire() == WIRE


def test_an_event_comes_back_from_the_wire_as_it_was() -> None:
    assert ProgressEvent.from_wire(EVENT.to_wire()) == EVENT
    bare = ProgressEvent("step", "job")
    assert ProgressEvent.from_wire(bare.to_wire()) == bare


def test_what_celery_adds_to_an_event_is_left_out() -> None:
    added = {"type": "task-progress", "hostname": "celery@here", "timestamp": 1.0, "clock": 7}

    assert ProgressEvent.from_wire({**WIRE, **added}) == EVENT


@pytest.mark.parametrize("lacking", ["uuid", "job_id"])
def test_an_event_without_its_ids_is_not_ours(lacking: str) -> None:
    assert ProgressEvent.from_wire({**WIRE, lacking: None}) is None
    assert ProgressEvent.from_wire({k: v for k, v in WIRE.items() if k != lacking}) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("percent", "40"), ("percent", True), ("fps", [1]), ("stage", 3), ("eta_s", {})],
)
def test_a_field_of_the_wrong_type_is_as_if_it_were_not_there(field: str, value: object) -> None:
    expected = ProgressEvent.from_wire({**WIRE, field: None})

    assert ProgressEvent.from_wire({**WIRE, field: value}) == expected


def test_a_browser_is_told_the_step_by_its_id_and_the_rest_under_the_same_names() -> None:
    rest = {name: value for name, value in WIRE.items() if name != "uuid"}

    assert EVENT.to_message() == {"type": "progress", "step_id": "step", **rest}


def test_an_event_is_made_of_where_ffmpeg_is() -> None:
    step = a_step()

    event = ProgressEvent.of_render(step, "cutting", Progress(12.5, 30.0, 1.5, 2.0, 1.0, frame=9))

    assert event == dataclasses.replace(EVENT, step_id=step.id, job_id=step.job_id)


def test_an_event_is_made_of_what_the_store_knows() -> None:
    step = a_step(stage="cutting", percent=12.46, fps=30.0, speed=1.5, eta_s=2.0, out_time_s=1.0)

    event = ProgressEvent.of_step(step)

    assert event == dataclasses.replace(EVENT, step_id=step.id, job_id=step.job_id)


@pytest.mark.parametrize("state", State)
def test_an_event_is_final_when_its_stage_is_a_final_state(state: State) -> None:
    assert ProgressEvent("step", "job", state.value).is_final is state.final


def test_the_api_s_description_has_the_fields_of_the_wire() -> None:
    assert set(ProgressEventIn.model_fields) == set(WIRE)
