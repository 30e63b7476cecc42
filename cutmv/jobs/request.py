"""Plan a job: checks what a person asked for and makes the steps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from cutmv.jobs.model import Job, Step, Upload, id_for, new_id
from cutmv.jobs.names import clip_stems, output_name
from cutmv.media import (
    Aspect,
    FileTimes,
    Fit,
    LabelledClip,
    MediaError,
    OutputSpec,
    parse_clip_list,
    parse_labelled_clip,
    plan,
)

#: Outputs of one job: enough for every line of a long song, and still one screen of a page.
MAX_OUTPUTS = 200


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What to make of an upload: each clip ("START-END") in each shape, as a GIF, as a still.

    A clip may have a label; `clip_list` is a list of more of them, as people paste them.
    """

    upload_id: str
    clips: tuple[str, ...] = ()
    clip_list: str = ""
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


def clips_of(clips: Sequence[str], lists: Sequence[str], file: FileTimes) -> list[LabelledClip]:
    """The clips that single texts and lists name. Raises MediaError with one line."""
    listed = [clip for each in lists for clip in parse_clip_list(each, file)]
    return [*(parse_labelled_clip(text, file) for text in clips), *listed]


def plan_job(upload: Upload, request: JobRequest, key: str | None = None) -> Job:
    """The job that `request` asks for; of one `key` there is one job.

    Raises MediaError with one line naming the bad clip.
    """
    specs = outputs_of(request.aspects, request.fit, request.gif, request.still)
    lists = [request.clip_list] if request.clip_list else []
    clips = clips_of(request.clips, lists, upload.info.times)
    if not clips:
        raise MediaError("Nothing to cut: give at least one clip, as START-END.")
    if len(clips) * len(specs) > MAX_OUTPUTS:
        raise MediaError(f"One job makes at most {MAX_OUTPUTS} outputs: split it into several.")
    stems = clip_stems(upload.filename, [each.label for each in clips])
    job_id, steps = id_for("job", key), list[Step]()
    for each, stem in zip(clips, stems, strict=True):
        for spec in specs:
            plan(upload.info, each.clip, spec)
            steps.append(
                Step(
                    id=new_id(),
                    job_id=job_id,
                    position=len(steps),
                    name=output_name(stem, spec),
                    clip=each.text,
                    start_s=float(each.clip.start),
                    end_s=float(each.clip.end),
                    spec=spec,
                )
            )
    return Job(id=job_id, upload=upload, steps=tuple(steps), created_at=0.0)
