"""Plan a job: checks what a person asked for and makes the steps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cutmv.config import Limits
from cutmv.jobs.model import LABELLED, Job, State, Step, Upload, id_for, new_id
from cutmv.jobs.names import clip_stems, output_name
from cutmv.jobs.wanted import Wanted
from cutmv.media import (
    SOUNDS,
    FileTimes,
    FilmClip,
    LabelledClip,
    MediaError,
    OutputSpec,
    parse_clip,
    parse_clip_list,
    parse_labelled_clip,
    plan,
    plan_film,
    preset,
)

#: What the film of many clips is called, where a clip has its label.
FILM = "film"
#: Outputs of one job at most, whatever is set: what is planned before they are counted has a bound.
MAX_OUTPUTS = 2_000


@dataclass(frozen=True)
class WantedClip:
    """A clip ("START-END") by itself, with its label, and what to make of it.

    None is made of it beside that; without a wish of its own it is made as the job's others.
    """

    text: str
    label: str = ""
    wanted: Wanted | None = None


@dataclass(frozen=True, kw_only=True)
class JobRequest(Wanted):
    """What to make of each clip ("START-END") of an upload.

    A clip may have a label; `wanted_clips` may also have wishes of their own. `clip_list` is a list
    of more of them, as people paste them.
    """

    upload_id: str
    clips: tuple[str, ...] = ()
    wanted_clips: tuple[WantedClip, ...] = ()
    clip_list: str = ""


def outputs_of(wanted: Wanted) -> list[OutputSpec]:
    """The outputs to make of each clip, without repetition. Raises MediaError when none."""
    fit, fade_s = wanted.fit or "crop", wanted.fade_s
    if not all(0 <= part <= 1 for part in wanted.centre):
        raise MediaError("The centre of a crop is in parts of the picture, from 0 to 1 each.")
    specs = [OutputSpec(kind="cutdown", aspect=a, fit=fit, fade_s=fade_s) for a in wanted.aspects]
    made_by = [(name, preset(name).fitted(wanted.fit)) for name in wanted.presets]
    specs += [replace(spec, fade_s=0 if spec.kind == "canvas" else fade_s) for _, spec in made_by]
    if wanted.gif or wanted.gif_max_bytes is not None:
        most = wanted.gif_max_bytes
        specs += [OutputSpec(kind="gif", aspect="source", fit=fit, max_bytes=most)]
    specs += [OutputSpec(kind="webp", aspect="source", fit=fit)] if wanted.webp else []
    if wanted.still or wanted.best:
        specs += [OutputSpec(kind="still", aspect="source", fit=fit, best=wanted.best)]
    if wanted.canvas:
        specs += [OutputSpec(kind="canvas", aspect="9:16", fit=fit, loop=wanted.canvas)]
    specs += [OutputSpec(kind=k, aspect="source", fit=fit, fade_s=fade_s) for k in wanted.sounds]
    if not specs:
        raise MediaError("Nothing to make: ask for at least one shape, a GIF or a still.")
    centred = [
        replace(
            spec,
            centre=wanted.centre,
            remove_bars=wanted.remove_bars,
            exact_copy=wanted.exact_copy,
            audio=wanted.audio,
            join=wanted.join,
            encoded_by=wanted.encoder,
            loudness=wanted.loudness if spec.kind in ("cutdown", *SOUNDS) else None,
        )
        for spec in specs
    ]
    # Two of one name would be one file: the one that was asked for in more detail is the last.
    return list({(spec.named, spec.kind): spec for spec in centred}.values())


def clips_of(clips: Sequence[str], lists: Sequence[str], file: FileTimes) -> list[LabelledClip]:
    """The clips that single texts and lists name. Raises MediaError with one line."""
    listed = [clip for each in lists for clip in parse_clip_list(each, file)]
    return [*(parse_labelled_clip(text, file) for text in clips), *listed]


def plan_job(upload: Upload, request: JobRequest, key: str | None = None) -> Job:
    """The job that `request` asks for; of one `key` there is one job.

    Raises MediaError with one line naming the bad clip.
    """
    clips, specs_of = _wanted(request, upload.info.times)
    if not clips:
        raise MediaError("Nothing to cut: give at least one clip, as START-END.")
    if request.join:
        return _film_job(upload, clips, outputs_of(request), id_for("job", key))
    if sum(map(len, specs_of)) > MAX_OUTPUTS:
        raise MediaError(f"One job makes at most {MAX_OUTPUTS} outputs: split it into several.")
    stems = clip_stems(upload.filename, [each.label for each in clips])
    job_id, steps = id_for("job", key), list[Step]()
    for each, stem, specs in zip(clips, stems, specs_of, strict=True):
        for spec in specs:
            plan(upload.info, each.clip, spec)
            steps.append(
                Step(
                    id=new_id(),
                    job_id=job_id,
                    position=len(steps),
                    name=output_name(stem, spec, upload.info),
                    clip=each.text,
                    start_s=float(each.clip.start),
                    end_s=float(each.clip.end),
                    spec=spec,
                )
            )
    return Job(
        id=job_id, upload=upload, steps=tuple(steps), created_at=0.0, person_id=upload.person_id
    )


def plan_again(job: Job, key: str | None = None, *, only_failed: bool = False) -> Job:
    """The job that makes the outputs of another one once more, or those alone that failed.

    Of one `key` there is one. Raises MediaError where none failed, or one can't be read any more.
    """
    wanted = [step for step in job.steps if step.state is State.FAILED or not only_failed]
    if not wanted:
        raise MediaError("No output of this job has failed.")
    if any(step.end_s <= step.start_s for step in wanted):
        raise MediaError("An output of this job can't be read any more: make a new job of it.")
    job_id = id_for("job again", key)
    steps = [
        Step(
            id=new_id(),
            job_id=job_id,
            position=position,
            name=step.name,
            clip=step.clip,
            start_s=step.start_s,
            end_s=step.end_s,
            spec=step.spec,
        )
        for position, step in enumerate(wanted)
    ]
    return Job(job_id, job.upload, tuple(steps), created_at=0.0, person_id=job.upload.person_id)


def _wanted(
    request: JobRequest, file: FileTimes
) -> tuple[list[LabelledClip], list[list[OutputSpec]]]:
    """The clips of a request, and what to make of each. Raises MediaError."""
    if request.join and any(each.wanted for each in request.wanted_clips):
        raise MediaError("Clips of one film have no wishes of their own: ask for all of them.")
    lists = [request.clip_list] if request.clip_list else []
    texts, listed = clips_of(request.clips, (), file), clips_of((), lists, file)
    own = [
        LabelledClip(parse_clip(each.text, file), each.text.strip(), each.label.strip())
        for each in request.wanted_clips
    ]
    wishes = [each.wanted or request for each in request.wanted_clips]
    wishes = [*[request] * len(texts), *wishes, *[request] * len(listed)]
    return [*texts, *own, *listed], [outputs_of(each) for each in wishes]


def _film_job(
    upload: Upload, clips: list[LabelledClip], specs: list[OutputSpec], job_id: str
) -> Job:
    """The job of one film of many clips in each shape. Raises MediaError."""
    [stem] = clip_stems(upload.filename, [FILM])
    steps = []
    for position, spec in enumerate(specs):
        film = plan_film([upload.info], [film_clip(each) for each in clips], spec)
        steps.append(
            Step(
                id=new_id(),
                job_id=job_id,
                position=position,
                name=output_name(stem, spec, upload.info),
                clip=film_text(clips),
                start_s=0.0,
                end_s=film.length_s,
                spec=spec,
            )
        )
    return Job(
        id=job_id, upload=upload, steps=tuple(steps), created_at=0.0, person_id=upload.person_id
    )


def film_clip(clip: LabelledClip, source: int = 0) -> FilmClip:
    """A clip as one of a film of many, of a source by its place."""
    return FilmClip(clip.clip, clip.label, " ".join(clip.text.split()), source)


def film_text(clips: Sequence[LabelledClip]) -> str:
    """The clips of a film in one text, a line each, with their labels."""
    lines = [(" ".join(each.text.split()), " ".join(each.label.split())) for each in clips]
    return "\n".join(LABELLED.join(filter(None, line)) for line in lines)


class TooLargeJob(Exception):
    """A job asks for more than one may; one line for people."""


def check_job(job: Job, limits: Limits) -> None:
    """Raise TooLargeJob where a job has too many outputs, or they or their clips are too long."""
    if len(job.steps) > limits.outputs:
        raise TooLargeJob(
            f"The job has {len(job.steps)} outputs; {limits.outputs} are the most: split it into"
            " several."
        )
    longest = max(step.end_s - step.start_s for step in job.steps)
    if longest > limits.clip_seconds:
        raise TooLargeJob(
            f"A clip of the job has {longest:.0f} seconds; {limits.clip_seconds} are the most."
        )
    seconds = sum(step.end_s - step.start_s for step in job.steps)
    if seconds > limits.job_seconds:
        raise TooLargeJob(
            f"The outputs of the job have {seconds:.0f} seconds; {limits.job_seconds} are the most."
        )
