"""FFmpeg and nothing else: what is in a video, and clips of it, exact to the frame.

`times` and `plan` are pure: what people write, and what to do for it. `probe` (with `timeline`:
when a picture starts and ends), `frames` (which of them a clip has) and `render` run `ffprobe` and
FFmpeg through `child` (which bounds it and always ends it, by way of `jail`), on a `source` (if
that is a URL, by way of a `relay`), with the program that `binaries` finds. `info` is what a probe
finds, `errors` what goes wrong.
"""

from cutmv.media.binaries import ffmpeg_path, ffprobe_path, shortcomings, version_of
from cutmv.media.errors import Cancelled, MediaError, MediaUnavailable, RenderTimeout
from cutmv.media.info import AudioStream, MediaInfo, VideoStream
from cutmv.media.plan import (
    Aspect,
    Fit,
    Kind,
    OutputSpec,
    RenderPlan,
    output_extension,
    plan,
    time_limit_s,
)
from cutmv.media.probe import keyframes, probe
from cutmv.media.render import Progress, Rendered, render
from cutmv.media.source import HEAD_BYTES, container_of
from cutmv.media.times import Clip, parse_clip, parse_time

__all__ = [
    "HEAD_BYTES",
    "Aspect",
    "AudioStream",
    "Cancelled",
    "Clip",
    "Fit",
    "Kind",
    "MediaError",
    "MediaInfo",
    "MediaUnavailable",
    "OutputSpec",
    "Progress",
    "RenderPlan",
    "RenderTimeout",
    "Rendered",
    "VideoStream",
    "container_of",
    "ffmpeg_path",
    "ffprobe_path",
    "keyframes",
    "output_extension",
    "parse_clip",
    "parse_time",
    "plan",
    "probe",
    "render",
    "shortcomings",
    "time_limit_s",
    "version_of",
]
