"""Jobs to keep in a store, without a video behind them."""

from __future__ import annotations

from fractions import Fraction

from cutmv.jobs import Job, JobRequest, JobStore, Upload, new_id, plan_job
from cutmv.media import MediaInfo, VideoStream


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


def add_upload(store: JobStore, filename: str = "song.mp4") -> Upload:
    """Keep an upload."""
    upload_id = new_id()
    key = f"uploads/{upload_id}/source"
    upload = Upload(upload_id, filename, 1_000_000, "video/mp4", key, video_info(), 0.0)
    return store.add_upload(upload)


def add_job(store: JobStore, *clips: str) -> Job:
    """Keep a job of these clips (default: two), one output each."""
    upload = add_upload(store)
    request = JobRequest(upload_id=upload.id, clips=clips or ("0-1", "1-2"))
    return store.add_job(plan_job(upload, request))
