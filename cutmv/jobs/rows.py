"""Rows of the job store's tables as what they stand for.

A row that can't be read stands alone. Of a step it is shown as a step that failed, and of a job or
an upload with what can be read of it; whoever would run it is told by UnreadableRow.
"""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from cutmv.database import now, readable, unreadable
from cutmv.jobs.model import (
    UNREAD,
    Division,
    Job,
    Output,
    State,
    Step,
    UnreadableRow,
    Upload,
    job_state,
    with_parts,
)
from cutmv.jobs.tables import jobs, steps, uploads
from cutmv.media import MediaInfo, OutputSpec, Rendered

#: What is raised by values that are not what they should be.
WRONG = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)

#: What becomes of the row of a step that is cancelled.
CANCELLED: dict[str, Any] = {
    "state": State.CANCELLED,
    "owner": None,
    "lease_until": None,
    "stage": None,
    "eta_s": None,
    "ended_at": now(),
}


def load_jobs(db: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Job]:
    """The jobs of a condition, the newest first, with their steps; none whose id can't be read."""
    found = db.execute(
        sa.select(jobs).where(condition).order_by(jobs.c.created_at.desc(), jobs.c.id)
    )
    rows = [row for row in found if isinstance(row.id, str)]
    if not rows:
        return []
    # Of an id that is no text SQLAlchemy takes all for bytes.
    upload_ids = {row.upload_id for row in rows if isinstance(row.upload_id, str)}
    sent = db.execute(sa.select(uploads).where(uploads.c.id.in_(upload_ids)))
    upload_of = {row.id: shown_upload(row) for row in sent}
    of_job: dict[str, list[Step]] = {row.id: [] for row in rows}
    bad: set[str] = set()
    of_step: dict[str, list[Step]] = {}
    for row in db.execute(
        sa.select(steps).where(steps.c.job_id.in_(of_job)).order_by(steps.c.position)
    ):
        step = shown_step(row)
        if not isinstance(row.id, str):
            step = replace(step, id="?")
        if step.parent_id is not None:
            of_step.setdefault(step.parent_id, []).append(step)
            continue
        of_job[row.job_id].append(step)
        if step.state != row.state:
            bad.add(row.job_id)
    return [
        _to_job(
            row,
            upload_of.get(row.upload_id),
            tuple(with_parts(step, of_step.get(step.id, ())) for step in of_job[row.id]),
            settled=row.id not in bad,
        )
        for row in rows
    ]


def _to_job(
    row: sa.Row[Any], upload: Upload | None, its: tuple[Step, ...], *, settled: bool
) -> Job:
    """A row of the jobs table; what of it can't be read is left out, and told as its error."""
    wrong = unreadable(jobs, row)
    if upload is None and "upload_id" not in wrong:
        wrong.append("upload_id")
    told = readable(row, wrong)
    if not wrong and row.state not in [*State]:
        wrong = ["state"]
    state = read_state(row.state) if settled else job_state([step.state for step in its])
    error = told["error"]
    if wrong:
        state, error = State.FAILED, _told("job", wrong)
    elif not settled and state.final:
        error = error or next((step.error for step in its if step.error), None)
    return Job(
        id=row.id,
        upload=upload or lost_upload(row.upload_id),
        steps=its,
        created_at=told["created_at"] or 0.0,
        state=state,
        route=told["route"],
        error=error,
        started_at=told["started_at"],
        finished_at=told["finished_at"],
        person_id=told["person_id"],
        mail_wanted=told["mail_wanted_at"] is not None,
    )


def to_upload(row: sa.Row[Any]) -> Upload:
    """A row of the uploads table as an Upload. Raises UnreadableRow."""
    wrong = [name for name in unreadable(uploads, row) if name != "info"]
    if wrong:
        raise UnreadableRow(f"{_told('upload', wrong)} Upload the video again.")
    try:
        info, outdated = MediaInfo.from_dict(row.info), not MediaInfo.tells_all(row.info)
    except WRONG:
        info, outdated = UNREAD, True  # whoever needs it looks at the file again
    return Upload(
        id=row.id,
        filename=row.filename,
        size=row.size,
        content_type=row.content_type,
        key=row.key,
        info=info,
        created_at=row.created_at,
        outdated=outdated,
        person_id=row.person_id,
    )


def shown_upload(row: sa.Row[Any]) -> Upload:
    """A row of the uploads table with what of it can be read; the key is empty if that can't."""
    try:
        return to_upload(row)
    except UnreadableRow:
        wrong = unreadable(uploads, row)
        told = readable(row, wrong)
        return Upload(
            id=row.id,
            filename=told["filename"] or "?",
            size=told["size"] or 0,
            content_type=told["content_type"] or "application/octet-stream",
            key=told["key"] or "",
            info=UNREAD,
            created_at=told["created_at"] or 0.0,
            outdated=True,
            person_id=told["person_id"],
        )


def lost_upload(told: object) -> Upload:
    """The upload of a job whose row names none that there is; its key is empty."""
    return Upload(
        id=str(told),
        filename="?",
        size=0,
        content_type="application/octet-stream",
        key="",
        info=UNREAD,
        created_at=0.0,
        outdated=True,
    )


def new_row(step: Step) -> dict[str, Any]:
    """The row of a step that nobody has run."""
    return {
        "id": step.id,
        "job_id": step.job_id,
        "position": step.position,
        "name": step.name,
        "clip": step.clip,
        "start_s": step.start_s,
        "end_s": step.end_s,
        "kind": step.spec.kind,
        "aspect": step.spec.aspect,
        "fit": step.spec.fit,
        "spec": step.spec.to_dict(),
        "state": step.state,
    }


def read_state(told: object) -> State:
    """The state that a row tells; one that is none is a failure."""
    return next((state for state in State if state == told), State.FAILED)


def to_step(row: sa.Row[Any]) -> Step:
    """A row of the steps table as a Step. Raises UnreadableRow."""
    if wrong := [name for name in unreadable(steps, row) if name != "output_made"]:
        raise UnreadableRow(_told("step", wrong))
    try:
        return _to_step(row)
    except WRONG as error:
        raise UnreadableRow(_told("step", [type(error).__name__, *_line(error)])) from None


def shown_step(row: sa.Row[Any]) -> Step:
    """A row of the steps table as people are shown it: failed where it can't be read."""
    try:
        return to_step(row)
    except UnreadableRow as error:
        return Step(
            id=row.id,
            job_id=row.job_id,
            position=row.position if isinstance(row.position, int) else 0,
            name=row.name if isinstance(row.name, str) else "?",
            clip=row.clip if isinstance(row.clip, str) else "",
            start_s=0.0,
            end_s=0.0,
            spec=OutputSpec("cutdown", "source", "crop"),
            state=State.FAILED,
            error=str(error),
            parent_id=row.parent_id,
        )


def _to_step(row: sa.Row[Any]) -> Step:
    output = None
    if row.output_key is not None:
        if row.output_size is None or row.output_type is None:
            raise ValueError("output_size, output_type")
        told = (row.output_key, row.output_size, row.output_type)
        output = Output(*told, made=_made(row.output_made), crc32=row.output_crc32)
    part = row.part and (Fraction(row.part[0]), Fraction(row.part[1]))
    return Step(
        id=row.id,
        job_id=row.job_id,
        position=row.position,
        name=row.name,
        clip=row.clip,
        start_s=row.start_s,
        end_s=row.end_s,
        spec=OutputSpec.from_dict(
            row.spec or {"kind": row.kind, "aspect": row.aspect, "fit": row.fit}
        ),
        state=State(row.state),
        stage=row.stage,
        percent=min(max(row.percent, 0.0), 100.0),
        fps=row.fps,
        speed=row.speed,
        eta_s=row.eta_s,
        out_time_s=row.out_time_s,
        attempts=row.attempts,
        failures=row.failures,
        route=row.route,
        error=row.error,
        output=output,
        parent_id=row.parent_id,
        part=part,
        division=Division(row.division) if row.division else None,
    )


def _made(told: Any) -> Rendered | None:
    """How an output was made; that it can't be read harms nobody."""
    try:
        return Rendered.from_dict(told) if told else None
    except WRONG:
        return None


def _told(what: str, wrong: list[str]) -> str:
    return f"The row of this {what} can't be read ({', '.join(wrong)})."


def _line(error: Exception) -> list[str]:
    return [str(error).splitlines()[0][:100]] if str(error) else []
