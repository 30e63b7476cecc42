"""What a job is: an upload, and the steps that each make one output of it.

    queued ──> running ──> done
      │  ^        ├──────> failed
      │  └────────┤        (back to queued: its worker died, or it will be tried again)
      └───────────┴──────> cancelled

A step's id is also the id of its Celery task. A job's state follows from its steps', except that
a cancelled job stays so.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any
from urllib.parse import quote

from cutmv.jobs.failures import Failure
from cutmv.media import (
    Clip,
    FilmClip,
    MediaInfo,
    OutputSpec,
    Rendered,
    parse_clip,
    time_limit_s,
)

#: The stages of a step that waits for something else than its turn: the storage, room on its
#: worker's machine, its next try, an end of other jobs of its person, of whom as many run as may.
WAITS_FOR_STORAGE, WAITS_FOR_ROOM = "waits for storage", "waits for room"
WAITS_TO_RETRY, WAITS_FOR_OTHERS = "waits to retry", "waits for other jobs"

#: Percent of a step at most while it runs: it is at 100 once its output is stored.
MAX_RUNNING_PERCENT = 99.9

#: What parts a clip of a film from its label, in the text of its step.
LABELLED = "\t"

#: Bytes of randomness in an id: 120 bits, so that an id can't be guessed.
ID_BYTES = 15


class State(StrEnum):
    """The state of a step or a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing comes after this state."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


#: The states a step can still leave.
OPEN_STATES = (State.QUEUED, State.RUNNING)


class Division(StrEnum):
    """How a step that takes long is made."""

    PARTS = "parts"
    WHOLE = "whole"


class UnknownJob(Exception):
    """There is no job (or step) of this id, or no longer."""


class UnknownUpload(Exception):
    """There is no upload of this id, or no longer."""


class UnreadableRow(Exception):
    """A row of the job store is damaged, or of a version that this one can't read; one line."""


class KeyReused(Exception):
    """A client gave the key of one request to another; one line for people."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was that of another request: use a new one.")


def new_id() -> str:
    """A fresh id of lower-case letters and digits: safe in a file name, a URL and an S3 key."""
    return secrets.token_hex(ID_BYTES)


def id_for(kind: str, key: str | None) -> str:
    """The id of what a request makes, by the client's key for the request; a fresh one without.

    So a request that comes again finds what the first has made.
    """
    if key is None:
        return new_id()
    return hashlib.sha256(f"cutmv {kind} {key}".encode()).hexdigest()[: 2 * ID_BYTES]


@dataclass(frozen=True)
class Upload:
    """A video somebody sent: where it is stored (`key`), its size in bytes, what is in it.

    It is `outdated` where an earlier version looked, which did not tell all of that. It belongs to
    `person_id`; to nobody where nobody signed in.
    """

    id: str
    filename: str
    size: int
    content_type: str
    key: str
    info: MediaInfo
    created_at: float
    outdated: bool = False
    person_id: str | None = None


#: What is known of a video whose row can't be read: whoever needs it looks at the file again.
UNREAD = MediaInfo("", 0, 0.0, 0.0, None, None)


@dataclass(frozen=True)
class Output:
    """A finished file of a step: its key in the storage, its size in bytes, how it was made.

    What an earlier version made does not tell how, nor its checksum, nor does one whose worker
    ended before it could.
    """

    key: str
    size: int
    content_type: str
    made: Rendered | None = None
    crc32: int | None = None


@dataclass(frozen=True)
class Step:
    """One output to make: the clip as the user wrote it and in seconds, its kind and shape.

    Of one film of many clips `clip` has a line for each, and the seconds are the film's own.
    `name` is the file name that people see. `route` is how the step came to its worker: a mode.
    `stage` is what its worker does, or why it waits where that is not for its turn. `attempts` are
    its starts, `failures` those of them that failed. A step that takes long may be divided: a part
    is a step whose `parent_id` is that of the whole, and `part` says since when and until when of
    the clip it is, in seconds.
    """

    id: str
    job_id: str
    position: int
    name: str
    clip: str
    start_s: float
    end_s: float
    spec: OutputSpec
    state: State = State.QUEUED
    stage: str | None = None
    percent: float = 0.0
    fps: float | None = None
    speed: float | None = None
    eta_s: float | None = None
    out_time_s: float | None = None
    attempts: int = 0
    failures: int = 0
    route: str | None = None
    error: str | None = None
    output: Output | None = None
    parent_id: str | None = None
    part: tuple[Fraction, Fraction] | None = None
    division: Division | None = None

    def clips(self, info: MediaInfo) -> list[Clip]:
        """The clips that it is of; of a film of many each has a line, and perhaps a label."""
        lines = [line.partition(LABELLED) for line in self.clip.split("\n")]
        return [parse_clip(text, info.times) for text, _, _ in lines]

    def film_clips(self, info: MediaInfo) -> list[FilmClip]:
        """The clips of a film of many, with their labels."""
        lines = [line.partition(LABELLED) for line in self.clip.split("\n")]
        return [
            FilmClip(clip, label, text)
            for clip, (text, _, label) in zip(self.clips(info), lines, strict=True)
        ]

    def limit_s(self, info: MediaInfo) -> float:
        """Seconds after which making it is stopped."""
        return sum(time_limit_s(info, clip, self.spec) for clip in self.clips(info))

    @property
    def shown_percent(self) -> float:
        """The percent as people are shown it, with one digit after the point."""
        return round(self.percent, 1)

    def to_json(self) -> dict[str, Any]:
        """The step as the HTTP API and the WebSocket show it."""
        return {
            "id": self.id,
            "position": self.position,
            "kind": self.spec.kind,
            "clip": {"text": self.clip, "start": self.start_s, "end": self.end_s},
            "aspect": self.spec.aspect,
            "fit": self.spec.fit,
            "state": self.state.value,
            "stage": self.stage,
            "percent": self.shown_percent,
            "fps": self.fps,
            "speed": self.speed,
            "eta_s": self.eta_s,
            "out_time_s": self.out_time_s,
            "attempts": self.attempts,
            "route": self.route,
            "error": self.error,
            "why": Failure.of(self.error).to_json()
            if self.error and self.state is State.FAILED
            else None,
            "output": self.output
            and {
                "name": self.name,
                "size": self.output.size,
                "content_type": self.output.content_type,
                "url": f"/api/jobs/{self.job_id}/outputs/{quote(self.name)}",
                "made": self.output.made and self.output.made.to_dict(),
            },
        }


@dataclass(frozen=True)
class Job:
    """An upload and the steps to make of it, for its owner. Times are in seconds since 1970."""

    id: str
    upload: Upload
    steps: tuple[Step, ...]
    created_at: float
    state: State = State.QUEUED
    route: str | None = None
    error: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    person_id: str | None = None
    #: Whether its owner wants a mail when it has ended.
    mail_wanted: bool = False

    @property
    def percent(self) -> float:
        """The percent of all steps together, each weighted by the length of its clip."""
        weights = [max(step.end_s - step.start_s, 0.1) for step in self.steps]
        done = sum(w * s.percent for w, s in zip(weights, self.steps, strict=True))
        return done / sum(weights) if weights else 100.0

    @property
    def shown_percent(self) -> float:
        """The percent as people are shown it: 100 only when every step is done."""
        done = all(step.state is State.DONE for step in self.steps)
        return round(self.percent if done else min(self.percent, MAX_RUNNING_PERCENT), 1)

    def to_json(self) -> dict[str, Any]:
        """The job as the HTTP API and the WebSocket show it."""
        return {**self._told(), "steps": [step.to_json() for step in self.steps]}

    def to_summary(self) -> dict[str, Any]:
        """The job as a live list shows it: of its steps, how many are done, and of how many."""
        done = sum(step.state is State.DONE for step in self.steps)
        return {**self._told(), "outputs": {"done": done, "all": len(self.steps)}}

    def _told(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": self.state.value,
            "percent": self.shown_percent,
            "mode": self.route,
            "error": self.error,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "mail": self.mail_wanted,
            "upload": {
                "id": self.upload.id,
                "filename": self.upload.filename,
                "size": self.upload.size,
                "duration_s": self.upload.info.duration_s,
            },
        }


def with_parts(step: Step, parts: Sequence[Step]) -> Step:
    """A step as it is with its parts: how far they are together, and how fast.

    Its time left is theirs, shared by those that run now.
    """
    if step.state.final or step.division is not Division.PARTS or not parts:
        return step
    lengths = [part.end_s - part.start_s for part in parts]
    whole_s = sum(lengths) or 1.0
    made = sum(s * part.percent for s, part in zip(lengths, parts, strict=True)) / whole_s
    percent = max(step.percent, min(made, MAX_RUNNING_PERCENT))
    left = [part for part in parts if not part.state.final]
    if not left:
        return replace(step, percent=percent)
    running = [part for part in left if part.state is State.RUNNING]
    return replace(
        step,
        percent=percent,
        fps=sum(part.fps or 0.0 for part in running),
        speed=sum(part.speed or 0.0 for part in running),
        eta_s=round(sum(part.eta_s or 0.0 for part in left) / max(1, len(running)), 1),
        out_time_s=round(made / 100 * whole_s, 3),
    )


def job_state(steps: Sequence[State]) -> State:
    """The state of a job, by those of its steps: failed as soon as all ended and one failed."""
    if all(state.final for state in steps):
        for state in (State.FAILED, State.CANCELLED):
            if state in steps:
                return state
        return State.DONE
    untouched = all(state is State.QUEUED for state in steps)
    return State.QUEUED if untouched else State.RUNNING
