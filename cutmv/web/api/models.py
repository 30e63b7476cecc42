"""The bodies and answers of the JSON API, as pydantic models, which check and document them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cutmv.jobs import State, Upload
from cutmv.media import Aspect, Fit, Kind

#: Jobs, or uploads, of one page of the list, where the client asks for no number, and at most.
DEFAULT_PAGE_JOBS, MAX_PAGE_JOBS = 20, 100

Seconds = Annotated[float, Field(ge=0)]


class PageQuery(BaseModel):
    """Which jobs, or uploads, to list."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    limit: int = Field(default=DEFAULT_PAGE_JOBS, ge=1, le=MAX_PAGE_JOBS)
    before: float | None = Field(default=None, description="`next_before` of the page before.")


class AgainQuery(BaseModel):
    """What of a job to make again."""

    model_config = ConfigDict(extra="forbid")

    only: Literal["failed"] | None = Field(
        default=None, description="Those outputs alone that failed; all without it."
    )


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VideoOut(_Answer):
    """The picture of an upload, as people see it."""

    width: int
    height: int
    frame_rate: float = Field(description="Frames per second.")


class UploadOut(_Answer):
    """A video that was sent."""

    id: str
    filename: str
    size: int = Field(description="Bytes.")
    content_type: str
    duration_s: Seconds
    video: VideoOut
    audio: bool = Field(description="Whether there is sound.")
    timecode: str | None = Field(description="That of the first frame, if the file tells one.")
    url: str = Field(description="The file itself, by ranges.")
    created_at: float = Field(description="Seconds since 1970.")


class UploadPage(_Answer):
    """A page of the list of uploads."""

    uploads: list[UploadOut]
    next_before: float | None = Field(description="`before` of the next page; null at the end.")


class JobUploadOut(_Answer):
    """What a job says of its upload."""

    id: str
    filename: str
    size: int
    duration_s: Seconds


class ClipOut(_Answer):
    """The frames from `start` up to `end`, in seconds, which is not among them.

    Of a film of many clips `text` has a line for each, and the seconds are the film's own.
    """

    text: str
    start: Seconds
    end: Seconds


class MadeOut(_Answer):
    """How an output was made."""

    duration_s: Seconds
    frames: int
    copied: int = Field(description="Frames of these that are the source's own, bit for bit.")
    reason: str | None = Field(description="Why none are, where all could have been.")
    encoder: str | None = Field(
        description="What encoded all of the picture of a film, by FFmpeg's name."
    )
    quality: str | None = Field(description="At what quality it did, as x264's CRF, and why.")
    sound: Literal["copied", "encoded"] | None
    width: int
    height: int
    size_bytes: int
    read_bytes: int | None = Field(description="Bytes of the source that were read.")
    requests: int | None = Field(description="Requests for them, where it is in a remote storage.")
    seconds: dict[str, Seconds] = Field(description="Those that each stage took.")
    warnings: list[str] = Field(description="Sentences about the source, for people.")


class OutputOut(_Answer):
    """A finished file."""

    name: str
    size: int
    content_type: str
    url: str
    made: MadeOut | None = Field(description="Null in a job of an earlier version.")


class FailureOut(_Answer):
    """Why a step failed, in words for everybody; `error` is the technical line."""

    said: str
    advice: str | None = Field(description="What one can do about it.")


class StepOut(_Answer):
    """One output to make."""

    id: str
    position: int
    kind: Kind
    clip: ClipOut
    aspect: Aspect
    fit: Fit
    state: State
    stage: str | None
    percent: float = Field(ge=0, le=100)
    fps: float | None
    speed: float | None = Field(description="Seconds of video made in a second.")
    eta_s: float | None
    out_time_s: float | None
    attempts: int
    route: str | None = Field(description="The way that it ran: cloudflare, redis or eager.")
    error: str | None
    why: FailureOut | None = Field(description="Of a step that failed.")
    output: OutputOut | None


class JobOut(_Answer):
    """A job and its steps; times in seconds since 1970."""

    id: str
    state: State
    percent: float = Field(ge=0, le=100)
    mode: str | None = Field(description="The queue it went by: cloudflare, redis or eager.")
    error: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    mail: bool = Field(description="Whether its owner is mailed when it has ended.")
    upload: JobUploadOut
    steps: list[StepOut]


class JobPage(_Answer):
    """A page of jobs, newest first."""

    jobs: list[JobOut]
    next_before: float | None = Field(description="`before` of the next page; null at the end.")


class QueueStatus(BaseModel):
    """Whether the queue works, and what runs the jobs when it does not."""

    model_config = ConfigDict(extra="allow")

    healthy: bool
    message: str
    configured: bool
    mode: str
    unwell_threads: list[str] = Field(
        description="The web server's threads that met an error nobody expected a moment ago."
    )


class ProgressEventIn(BaseModel):
    """A `task-progress` event (`cutmv.progress.ProgressEvent` in its wire form)."""

    model_config = ConfigDict(allow_inf_nan=False)

    uuid: str
    job_id: str
    stage: str | None = None
    percent: float | None = None
    fps: float | None = None
    speed: float | None = None
    eta_s: float | None = None
    out_time_s: float | None = None


class ProgressBody(BaseModel):
    """A webhook's events."""

    events: list[ProgressEventIn]


class Health(_Answer):
    """Whether the database and the storage answer."""

    status: Literal["ok", "failing"]
    checks: dict[str, Literal["ok", "failing"]]


class ProblemOut(BaseModel):
    """An error, by RFC 9457."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str
    title: str
    status: int
    detail: str


def upload_json(upload: Upload) -> dict[str, Any]:
    """An upload as the API shows it (`UploadOut`)."""
    info = upload.info
    return {
        "id": upload.id,
        "filename": upload.filename,
        "size": upload.size,
        "content_type": upload.content_type,
        "duration_s": float(info.duration_s),
        "video": info.video
        and {
            "width": info.video.width,
            "height": info.video.height,
            "frame_rate": float(info.video.frame_rate),
        },
        "audio": bool(info.audio),
        "timecode": info.timecode,
        "url": f"/api/uploads/{upload.id}/content",
        "created_at": upload.created_at,
    }


def size_text(size: int) -> str:
    """Bytes for people, in powers of ten: `10 GB`, `1.5 MB`."""
    amount, unit = float(size), "bytes"
    for bigger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, bigger
    return f"{round(amount, 1):g} {unit}"
