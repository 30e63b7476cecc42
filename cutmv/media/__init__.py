"""FFmpeg and nothing else: what is in a video, and clips of it, exact to the frame.

`times` reads what people write, and `plan` plans an output, one of the `products`; all are pure.
`sharing` divides what takes long.
`probe` finds what is in a file (`info`), and `render` makes an output: both ask the `engine`, a
process of its own that runs as a `child` in a `sandbox` (`engine_process`), on a `source`, which
for a URL is `remote`.
`overview` has the engine show a whole video at once: small pictures, and how loud it is. `proxies`
plans films in place of what a browser can't play.
`suggestions` are of clips, by what the engine sees and hears; they need packages of their own.
The engine uses FFmpeg's libraries, and a program that `binaries` finds. Nothing here imports the
rest of CUTMV.
"""

from cutmv.media.engine.protocol import Copying, Part
from cutmv.media.errors import (
    Cancelled,
    MediaError,
    MediaUnavailable,
    NoRoom,
    RenderTimeout,
    SourceUnavailable,
    Unjoinable,
    no_room,
)
from cutmv.media.info import AudioStream, MediaInfo, VideoStream
from cutmv.media.montage import FilmClip, FilmPlan, join, plan_film
from cutmv.media.overview import (
    Overview,
    Sheet,
    empty_overview,
    overview,
    overview_limit_s,
)
from cutmv.media.plan import LIMIT_BASE_S, RenderPlan, plan, time_limit_s
from cutmv.media.probe import entries, keyframes, probe, survey
from cutmv.media.products.containers import output_extension
from cutmv.media.products.presets import Preset, preset, presets
from cutmv.media.products.spec import (
    LUFS,
    SIZES,
    SOUNDS,
    Aspect,
    EncodedBy,
    Fit,
    Kind,
    Loop,
    Loudness,
    OutputSpec,
    Sound,
)
from cutmv.media.proxies import Proxy, plan_proxy, proxy_limit_s
from cutmv.media.remote.cache import Cache
from cutmv.media.rendering import Order, Progress, Rendered, Result, render, render_together
from cutmv.media.running.binaries import (
    ffmpeg_path,
    is_current,
    refuse_script,
    shortcomings,
    version_of,
    version_of_libraries,
)
from cutmv.media.running.child import yielding
from cutmv.media.running.hardware import hardware_encoder
from cutmv.media.sandbox.protections import missing as sandbox_missing
from cutmv.media.sandbox.protections import told as sandbox_told
from cutmv.media.sharing.costs import CostModel, Work, work_of, works_of
from cutmv.media.sharing.forecasts import Forecast, forecast
from cutmv.media.sharing.groups import groups
from cutmv.media.sharing.parts import divide, part_count, wanted_starts
from cutmv.media.source import HEAD_BYTES, container_of, forget
from cutmv.media.suggestions import (
    MOST_SUGGESTED,
    SHORTEST_SUGGESTED_S,
    SUGGESTED_CLIPS,
    SUGGESTED_S,
    Analysis,
    BeginOn,
    Suggestions,
    analyse,
    analysis_limit_s,
    clip_list,
    suggest,
)
from cutmv.media.times import (
    Clip,
    FileTimes,
    LabelledClip,
    WrongLine,
    parse_clip,
    parse_clip_list,
    parse_labelled_clip,
    parse_time,
    read_clip_list,
)

__all__ = [
    "HEAD_BYTES",
    "LIMIT_BASE_S",
    "LUFS",
    "MOST_SUGGESTED",
    "SHORTEST_SUGGESTED_S",
    "SIZES",
    "SOUNDS",
    "SUGGESTED_CLIPS",
    "SUGGESTED_S",
    "Analysis",
    "Aspect",
    "AudioStream",
    "BeginOn",
    "Cache",
    "Cancelled",
    "Clip",
    "Copying",
    "CostModel",
    "EncodedBy",
    "FileTimes",
    "FilmClip",
    "FilmPlan",
    "Fit",
    "Forecast",
    "Kind",
    "LabelledClip",
    "Loop",
    "Loudness",
    "MediaError",
    "MediaInfo",
    "MediaUnavailable",
    "NoRoom",
    "Order",
    "OutputSpec",
    "Overview",
    "Part",
    "Preset",
    "Progress",
    "Proxy",
    "RenderPlan",
    "RenderTimeout",
    "Rendered",
    "Result",
    "Sheet",
    "Sound",
    "SourceUnavailable",
    "Suggestions",
    "Unjoinable",
    "VideoStream",
    "Work",
    "WrongLine",
    "analyse",
    "analysis_limit_s",
    "clip_list",
    "container_of",
    "divide",
    "empty_overview",
    "entries",
    "ffmpeg_path",
    "forecast",
    "forget",
    "groups",
    "hardware_encoder",
    "is_current",
    "join",
    "keyframes",
    "no_room",
    "output_extension",
    "overview",
    "overview_limit_s",
    "parse_clip",
    "parse_clip_list",
    "parse_labelled_clip",
    "parse_time",
    "part_count",
    "plan",
    "plan_film",
    "plan_proxy",
    "preset",
    "presets",
    "probe",
    "proxy_limit_s",
    "read_clip_list",
    "refuse_script",
    "render",
    "render_together",
    "sandbox_missing",
    "sandbox_told",
    "shortcomings",
    "suggest",
    "survey",
    "time_limit_s",
    "version_of",
    "version_of_libraries",
    "wanted_starts",
    "work_of",
    "works_of",
    "yielding",
]
