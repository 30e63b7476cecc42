"""What a server answers, as far as a client needs it; what else it tells is left out."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

#: The states of a job and a step that do not change any more.
FINAL = ("done", "failed", "cancelled")


class ApiError(Exception):
    """A request failed, by one line for people; `status` is 0 where there was no answer."""

    def __init__(self, detail: str, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.status, self.retry_after_s = status, retry_after_s

    @property
    def passes(self) -> bool:
        """Whether the same request may work later."""
        return self.status in (0, 408, 425, 429, 507) or self.status >= 500


@dataclass(frozen=True, slots=True)
class _Answer:
    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """The answer that JSON tells."""
        return cls(**{field.name: told[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Upload(_Answer):
    """A video that was sent: its size in bytes, its length in seconds."""

    id: str
    filename: str
    size: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Output(_Answer):
    """A finished file: its size in bytes, and its address on the server."""

    name: str
    size: int
    content_type: str
    url: str


@dataclass(frozen=True, slots=True)
class Step:
    """One output to make of the clip `clip`; it is None until the state is `done`."""

    id: str
    kind: str
    clip: str
    state: str
    percent: float
    error: str | None
    output: Output | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """The step that JSON tells."""
        names = ("id", "kind", "state", "percent", "error")
        output = told["output"] and Output.of(told["output"])
        return cls(clip=told["clip"]["text"], output=output, **{name: told[name] for name in names})


@dataclass(frozen=True, slots=True)
class Job:
    """An upload and what is made of it; `mode` is how it runs.

    `created_at` is in seconds since 1970.
    """

    id: str
    state: str
    percent: float
    mode: str | None
    error: str | None
    created_at: float
    upload_id: str
    filename: str
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """The job that JSON tells."""
        names = ("id", "state", "percent", "mode", "error", "created_at")
        return cls(
            upload_id=told["upload"]["id"],
            filename=told["upload"]["filename"],
            steps=tuple(map(Step.of, told["steps"])),
            **{name: told[name] for name in names},
        )

    @property
    def ended(self) -> bool:
        """Whether nothing of it changes any more."""
        return self.state in FINAL

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The files that are finished."""
        return tuple(step.output for step in self.steps if step.output)


@dataclass(frozen=True, slots=True)
class Webhook(_Answer):
    """Where the ends of one's jobs are told. `secret` is known where it was just made."""

    id: str
    url: str
    enabled: bool
    disabled_why: str | None
    secret: str | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """The webhook that JSON tells."""
        return super(Webhook, cls).of({"secret": None, **told})


@dataclass(frozen=True, slots=True)
class Delivery(_Answer):
    """What a webhook was told; `answer` is what the last attempt was answered."""

    id: str
    type: str
    job_id: str | None
    happened_at: float
    state: str
    attempts: int
    answer: str | None
