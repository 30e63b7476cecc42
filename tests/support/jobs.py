"""Jobs and uploads to keep in a store."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from cutmv.jobs import (
    Derivative,
    Derivatives,
    Job,
    JobRequest,
    JobStore,
    Upload,
    new_id,
    plan_job,
)
from cutmv.jobs.tables import derivatives
from cutmv.media import MediaInfo, VideoStream, probe
from cutmv.services import Services


def video_info(duration_s: float = 60.0) -> MediaInfo:
    """What a probe finds in a plain 1080p video of this length."""
    video = VideoStream(
        index=0,
        codec="h264",
        width=1920,
        height=1080,
        coded_width=1920,
        coded_height=1080,
        rotation=0,
        frame_rate=Fraction(30),
        variable=False,
        time_base=Fraction(1, 15_360),
        start_s=0.0,
        duration_s=duration_s,
        pix_fmt="yuv420p",
        color_range=None,
        color_primaries=None,
        color_transfer=None,
        color_space=None,
    )
    return MediaInfo("mov", 1_000_000, duration_s, 0.0, video, None)


def an_upload(filename: str = "song.mp4") -> Upload:
    """An upload of nobody's, without a video behind it."""
    upload_id = new_id()
    key = f"uploads/{upload_id}/source"
    return Upload(upload_id, filename, 1_000_000, "video/mp4", key, video_info(), 0.0)


def add_upload(store: JobStore, filename: str = "song.mp4") -> Upload:
    """Keep an upload, without a video behind it."""
    return store.add_upload(an_upload(filename))


def add_video(services: Services, video: Path) -> Upload:
    """Keep a video as an upload, in the storage too."""
    upload_id = new_id()
    key, content = f"uploads/{upload_id}/source", video.read_bytes()
    services.storage.put_stream(
        key, io.BytesIO(content), content_type="video/mp4", max_bytes=len(content)
    )
    upload = Upload(upload_id, video.name, len(content), "video/mp4", key, probe(video), 0.0)
    return services.store.add_upload(upload)


def want(services: Services, kind: Derivative[Any], upload: Upload) -> Derivatives:
    """Ask for a derivative of an upload, as who is about to send it; returns all of them."""
    wanted = Derivatives(services.store, services.storage)
    assert wanted.ask(kind, upload)
    wanted.prepare(kind, upload)
    return wanted


def let_time_pass(store: JobStore) -> None:
    """Have those who hold a derivative be dead for long."""
    with store.engine.begin() as db:
        db.execute(derivatives.update().values(look_at=derivatives.c.look_at - 86_400.0))


def add_job(store: JobStore, *clips: str, person_id: str | None = None) -> Job:
    """Keep a job of these clips (default: two), one output each, of a person."""
    upload = replace(add_upload(store), person_id=person_id)
    request = JobRequest(upload_id=upload.id, clips=clips or ("0-1", "1-2"))
    return store.add_job(plan_job(upload, request))
