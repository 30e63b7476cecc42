"""Plan a job: checks what a person asked for and makes the steps. Pure."""

import re
from dataclasses import dataclass
from pathlib import PurePath

from cutmv.jobs.model import Job, Step, Upload, id_for, new_id
from cutmv.media import Aspect, Fit, MediaError, OutputSpec, output_extension, parse_clip, plan

#: Outputs of one job: enough for every line of a long song, and still one screen of a page.
MAX_OUTPUTS = 200
#: Characters of the upload's own name that its outputs carry.
MAX_STEM_CHARS = 80

_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What to make of an upload: each clip ("START-END") in each shape, as a GIF, as a still."""

    upload_id: str
    clips: tuple[str, ...]
    aspects: tuple[Aspect, ...] = ("source",)
    fit: Fit = "crop"
    gif: bool = False
    still: bool = False


def outputs_of(aspects: tuple[Aspect, ...], fit: Fit, gif: bool, still: bool) -> list[OutputSpec]:
    """The outputs to make of each clip, without repetition. Raises MediaError when none."""
    specs = [OutputSpec(kind="cutdown", aspect=a, fit=fit) for a in dict.fromkeys(aspects)]
    specs += [OutputSpec(kind="gif", aspect="source", fit=fit)] if gif else []
    specs += [OutputSpec(kind="still", aspect="source", fit=fit)] if still else []
    if not specs:
        raise MediaError("Nothing to make: ask for at least one shape, a GIF or a still.")
    return specs


def output_name(source_name: str, clip_number: int, spec: OutputSpec) -> str:
    """A file name like `song-02-9x16.mp4`, safe on every file system."""
    stem = _UNSAFE.sub("_", PurePath(source_name).stem).strip("._-")[:MAX_STEM_CHARS] or "video"
    shape = spec.aspect.replace(":", "x") if spec.kind == "cutdown" else spec.kind
    return f"{stem}-{clip_number:02d}-{shape}.{output_extension(spec.kind)}"


def plan_job(upload: Upload, request: JobRequest, key: str | None = None) -> Job:
    """The job that `request` asks for; of one `key` there is one job.

    Raises MediaError with one line naming the bad clip.
    """
    specs = outputs_of(request.aspects, request.fit, request.gif, request.still)
    if not request.clips:
        raise MediaError("Nothing to cut: give at least one clip, as START-END.")
    if len(request.clips) * len(specs) > MAX_OUTPUTS:
        raise MediaError(f"One job makes at most {MAX_OUTPUTS} outputs: split it into several.")
    video = upload.info.video
    job_id, steps = id_for("job", key), list[Step]()
    for number, text in enumerate(request.clips, start=1):
        clip = parse_clip(text, video.frame_rate if video else None)
        for spec in specs:
            plan(upload.info, clip, spec)
            steps.append(
                Step(
                    id=new_id(),
                    job_id=job_id,
                    position=len(steps),
                    name=output_name(upload.filename, number, spec),
                    clip=text.strip(),
                    start_s=float(clip.start),
                    end_s=float(clip.end),
                    spec=spec,
                )
            )
    return Job(id=job_id, upload=upload, steps=tuple(steps), created_at=0.0)
