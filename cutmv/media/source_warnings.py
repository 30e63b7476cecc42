"""Sentences about what is odd about a source, and what an output makes of that. Pure."""

from fractions import Fraction
from typing import Any

from cutmv.media.info import MediaInfo, VideoStream
from cutmv.media.plan import RenderPlan
from cutmv.media.products.shapes import assumes_matrix, keeps_alpha
from cutmv.media.products.spec import FILMS, SOUNDS

#: What people call the two curves of light of HDR.
_HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
_MATRICES = {"bt709": "BT.709", "smpte170m": "BT.601"}
#: Seconds by which picture and file differ that are told of.
SHOWN_S = 0.05
#: Jumps in time of one stream that are told of.
MOST_JUMPS = 3


def of_output(plan: RenderPlan, *, copied: bool) -> list[str]:
    """What to tell of an output by a plan; `copied` says that packets of the source are in it."""
    video, spec = plan.video, plan.spec
    if spec.kind in SOUNDS:
        return []
    found = []
    if video.inside:
        left, top, _, _ = video.inside
        found.append(
            f"Black bars were removed: {video.width}×{video.height} pixels are left"
            f" ({left} were left of them, and {top} above)."
        )
    elif spec.remove_bars:
        found.append("No black bars were found beyond doubt: the picture is left whole.")
    if plan.info.unknown_sound and spec.kind == "cutdown":
        found.append("Nothing here decodes the source's sound: the output has none.")
    if spec.kind in FILMS and video.variable:
        what = "each keeps its own time"
        if plan.pictures:
            what = f"{float(plan.pictures / plan.length_s):.4g} a second are made of them"
        found.append(f"The source's frames are not evenly spaced: {what}.")
    if video.transparent and not copied and not keeps_alpha(video, spec):
        what = "is shown before black" if video.alpha else "loses its transparency"
        found.append(f"The source is partly transparent: the output {what}.")
    return found if copied else [*found, *_of_encoded(video, untold=assumes_matrix(video, spec))]


def of_file(info: MediaInfo | None, found: dict[str, Any]) -> list[str]:
    """What to tell of a file by what a survey of it has found.

    `info` is what is cut of it, none where nothing can be.
    """
    told = []
    if info is not None and info.video is not None:
        told += _of_picture(info, info.video)
    ends = found["ends_early"]
    if ends is not None:
        told.append(f"The file is cut short: its picture ends at {float(Fraction(ends)):.3f} s.")
    for stream in found["streams"]:
        told += _of_stream(stream)
    return told


def _of_picture(info: MediaInfo, video: VideoStream) -> list[str]:
    told = []
    if video.variable:
        told.append("Frames are not evenly spaced: each keeps its own time in a clip.")
    if video.color_space is None and not video.rgb:
        matrix = _MATRICES[video.assumed_matrix]
        told.append(f"The picture does not tell its colours: most players show those of {matrix}.")
    if video.transparent:
        told.append("The picture is partly transparent, and films that are encoded are not.")
    if info.audio is None:
        told.append("There is no sound.")
    late = video.start_s - info.start_s
    if late > SHOWN_S:
        told.append(f"The picture begins {late:.3f} s after the file does.")
    early = info.start_s + info.duration_s - video.start_s - video.duration_s
    if early > SHOWN_S:
        told.append(f"The picture ends {early:.3f} s before the file does.")
    return told


def _of_stream(stream: dict[str, Any]) -> list[str]:
    """What to tell of one stream by its header and its first packets."""
    name, told = f"Stream #{stream['index']} ({stream['type']})", []
    if stream["type"] in ("video", "audio") and stream["codec"] is None:
        told.append(f"{name} has a codec that nothing here decodes: it is left out.")
    elif stream["type"] in ("video", "audio") and not stream["packets"]:
        told.append(f"{name} has no packet, as far as was looked.")
    if stream["damaged"]:
        told.append(f"{name} has damaged packets: {stream['damaged']}, as far as was looked.")
    if stream["untimed"]:
        told.append(f"{name} has packets without a time: {stream['untimed']}.")
    told += [
        f"{name} jumps {abs(by):.3f} s {'ahead' if by > 0 else 'back'} in time, at {at:.3f} s."
        for at, by in stream["jumps"][:MOST_JUMPS]
    ]
    return told


def _of_encoded(video: VideoStream, *, untold: bool) -> list[str]:
    found = []
    if video.interlaced:
        found.append("The source is interlaced: its fields are made whole frames.")
    if video.hdr:
        in_part = None in (video.color_primaries, video.color_space)
        assumed = ", and told in part, so that BT.2020 is assumed" if in_part else ""
        curve = _HDR[str(video.color_transfer)]
        found.append(f"The source is HDR ({curve}){assumed}: it is mapped to BT.709.")
    elif video.rgb:
        found.append("The source's pixels are red, green and blue: they are made BT.709.")
    elif untold:
        matrix = _MATRICES[video.assumed_matrix]
        found.append(f"The source does not tell its colours: those of {matrix} are assumed.")
    return found
