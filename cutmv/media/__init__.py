"""FFmpeg and nothing else: what is in a video, and clips of it, exact to the frame.

`times` parses what people write, and `plan` plans an output; both are pure. `probe` asks `ffprobe`
what is in a file (`info`), `timeline` measures what headers do not say, `frames` finds the frames
of a clip, and `render` makes an output. They run a program that `binaries` finds as a `child` in a
`sandbox`, on a `source`, which for a URL is a `relay`. The package imports nothing of CUTMV.
"""

from cutmv.media.binaries import ffmpeg_path, ffprobe_path, shortcomings, version_of
from cutmv.media.errors import (
    Cancelled,
    MediaError,
    MediaUnavailable,
    NoRoom,
    RenderTimeout,
    SourceUnavailable,
    no_room,
)
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
    "NoRoom",
    "OutputSpec",
    "Progress",
    "RenderPlan",
    "RenderTimeout",
    "Rendered",
    "SourceUnavailable",
    "VideoStream",
    "container_of",
    "ffmpeg_path",
    "ffprobe_path",
    "keyframes",
    "no_room",
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
