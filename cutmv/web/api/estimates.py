"""What a job would take, as the API tells it, and as a pydantic model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cutmv.jobs import Job, Step
from cutmv.media import Aspect, CostModel, Forecast, Kind, MediaInfo, forecast, plan
from cutmv.web.api.models import ClipOut, Seconds


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OutputEstimate(_Answer):
    """What one output would take, about."""

    name: str
    kind: Kind
    aspect: Aspect
    clip: ClipOut
    seconds: Seconds = Field(description="Seconds of work.")
    size: int = Field(description="Bytes, roughly.")
    copied_s: Seconds | None = Field(
        description="Seconds of a film that are the source's own pictures; null: not known yet."
    )
    encoded_s: Seconds | None = Field(description="Seconds of it that are encoded.")
    reason: str | None = Field(description="Why none of a film is copied, where that is known.")
    known: bool = Field(description="Whether enough was made that is alike.")


class EstimateOut(_Answer):
    """What a job would take, about, if its outputs were made one after the other."""

    seconds: Seconds
    size: int
    outputs: list[OutputEstimate]


def estimate_json(job: Job, model: CostModel, keys: Sequence[float]) -> dict[str, Any]:
    """What a job would take (`EstimateOut`); `keys` are when key pictures are shown (s).

    Raises MediaError for an output that can't be made.
    """
    outputs = [_output(step, job.upload.info, model, keys) for step in job.steps]
    return {
        "seconds": round(sum(each["seconds"] for each in outputs), 1),
        "size": sum(each["size"] for each in outputs),
        "outputs": outputs,
    }


def _output(step: Step, info: MediaInfo, model: CostModel, keys: Sequence[float]) -> dict[str, Any]:
    spec = replace(step.spec, join=False)
    # One film of many clips is made of what each would be.
    each = [forecast(plan(info, clip, spec), model, keys) for clip in step.clips(info)]
    return {
        "name": step.name,
        "kind": step.spec.kind,
        "aspect": step.spec.aspect,
        "clip": {"text": step.clip, "start": step.start_s, "end": step.end_s},
        "seconds": round(sum(one.seconds for one in each), 1),
        "size": sum(one.size_bytes for one in each),
        "copied_s": _sum(each, "copied_s"),
        "encoded_s": _sum(each, "encoded_s"),
        "reason": each[0].reason,
        "known": all(one.known for one in each),
    }


def _sum(each: Sequence[Forecast], name: str) -> float | None:
    told = [getattr(one, name) for one in each]
    return None if None in told else round(sum(told), 3)
