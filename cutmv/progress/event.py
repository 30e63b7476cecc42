"""The progress event: how far one step is, and the forms in which that travels.

A worker makes events while it runs a step. Between processes they travel as Celery's custom event
`task-progress` or in a webhook, both in the wire form; a browser gets the message form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cutmv.jobs import State, Step
from cutmv.media import Progress

#: The type of the Celery event.
EVENT_TYPE = "task-progress"
#: The fields that say how far a step is; they have the same names in every form.
_MEASURES = ("percent", "fps", "speed", "eta_s", "out_time_s")


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """How far a step of a job is. What is not known is None.

    `stage` is what its worker does, or the final state of the step. `percent` is 0 to 100, `fps`
    frames encoded in a second, `speed` seconds of video made in a second, `eta_s` seconds left,
    `out_time_s` seconds of video made.

    >>> ProgressEvent("step-1", "job-1", "cutting", 12.5).to_wire()["uuid"]
    'step-1'
    """

    step_id: str
    job_id: str
    stage: str | None = None
    percent: float | None = None
    fps: float | None = None
    speed: float | None = None
    eta_s: float | None = None
    out_time_s: float | None = None

    @classmethod
    def of_render(cls, step: Step, stage: str, progress: Progress) -> Self:
        """The event for a step whose FFmpeg is at `progress`."""
        measures = {name: getattr(progress, name) for name in _MEASURES}
        return cls(step.id, step.job_id, stage, **measures)

    @classmethod
    def of_step(cls, step: Step) -> Self:
        """The event that says what the job store knows of a step; its percent is rounded."""
        measures = {name: getattr(step, name) for name in _MEASURES}
        return cls(step.id, step.job_id, step.stage, **measures | {"percent": step.shown_percent})

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self | None:
        """The event of a wire form, or None when its ids are missing: then it is not ours.

        A field of the wrong type becomes None, and fields that we do not know are left out.
        """
        step_id, job_id, stage = fields.get("uuid"), fields.get("job_id"), fields.get("stage")
        if not step_id or not job_id:
            return None
        measures = {name: _number(fields.get(name)) for name in _MEASURES}
        return cls(str(step_id), str(job_id), stage if isinstance(stage, str) else None, **measures)

    def to_wire(self) -> dict[str, Any]:
        """The fields of the Celery event `task-progress`, and of an event in a webhook."""
        return {"uuid": self.step_id, "job_id": self.job_id, **self._progress()}

    def to_message(self) -> dict[str, Any]:
        """The message for a browser that watches the job."""
        ids = {"job_id": self.job_id, "step_id": self.step_id}
        return {"type": "progress", **ids, **self._progress()}

    @property
    def is_final(self) -> bool:
        """Whether the event tells the end of its step."""
        return self.stage in (State.DONE, State.FAILED, State.CANCELLED)

    def _progress(self) -> dict[str, Any]:
        return {"stage": self.stage, **{name: getattr(self, name) for name in _MEASURES}}


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None  # type: ignore[return-value]
