"""Rows of the job store's tables as what they stand for."""

from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from cutmv.jobs.model import Division, Job, Output, State, Step, Upload, with_parts
from cutmv.jobs.tables import jobs, steps, uploads
from cutmv.media import MediaInfo, OutputSpec, Rendered


def load_jobs(db: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Job]:
    """The jobs of a condition, the newest first, with their steps."""
    rows = db.execute(
        sa.select(jobs).where(condition).order_by(jobs.c.created_at.desc(), jobs.c.id)
    ).all()
    upload_ids = {row.upload_id for row in rows}
    sent = db.execute(sa.select(uploads).where(uploads.c.id.in_(upload_ids)))
    upload_of = {row.id: to_upload(row) for row in sent}
    of_job: dict[str, list[Step]] = {row.id: [] for row in rows}
    of_step: dict[str, list[Step]] = {}
    for row in db.execute(
        sa.select(steps).where(steps.c.job_id.in_(of_job)).order_by(steps.c.position)
    ):
        step = to_step(row)
        if step.parent_id is None:
            of_job[row.job_id].append(step)
        else:
            of_step.setdefault(step.parent_id, []).append(step)
    return [
        Job(
            id=row.id,
            upload=upload_of[row.upload_id],
            steps=tuple(with_parts(step, of_step.get(step.id, ())) for step in of_job[row.id]),
            created_at=row.created_at,
            state=State(row.state),
            route=row.route,
            error=row.error,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
        for row in rows
    ]


def to_upload(row: sa.Row[Any]) -> Upload:
    """A row of the uploads table as an Upload."""
    return Upload(
        id=row.id,
        filename=row.filename,
        size=row.size,
        content_type=row.content_type,
        key=row.key,
        info=MediaInfo.from_dict(row.info),
        created_at=row.created_at,
        outdated=not MediaInfo.tells_all(row.info),
    )


def to_step(row: sa.Row[Any]) -> Step:
    """A row of the steps table as a Step."""
    output = None
    if row.output_key is not None:
        made = Rendered.from_dict(row.output_made) if row.output_made else None
        output = Output(row.output_key, row.output_size, row.output_type, made)
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
        percent=row.percent,
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
