"""Find the frames of a source that belong to a clip."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from cutmv.media.errors import CUT_FAILED, MediaError
from cutmv.media.ffprobe import ask
from cutmv.media.plan import GIF_RATE, RenderPlan

#: What ffprobe shows of packets, and of decoded frames.
PACKET_FIELDS = "packet=pts,dts,duration,flags"
DECODED_FIELDS = "frame=best_effort_timestamp"


@dataclass(frozen=True)
class Frames:
    """The frames of a clip, and how many an output has of them.

    `first_pts` and `end_pts` are ticks of the source's clock: when the first is shown, and
    when the last is no longer.
    """

    count: int
    first_pts: int
    end_pts: int
    length_s: float


def find_frames(
    source: str,
    plan: RenderPlan,
    *,
    timeout_s: float,
    cancelled: Callable[[], bool] | None = None,
) -> Frames:
    """The frames of the plan's clip in `source`, a readable name.

    Reads the source's packets there, and decodes nothing but AVI. Raises as `render` does.
    """
    tick, rate = plan.video.time_base, plan.video.frame_rate
    until_s = float((plan.end_pts * tick) + 3 / rate) + 1.0
    interval = f"{max(0.0, float(plan.first_pts * tick) - 0.5):.6f}%{until_s:.6f}"
    shown = ["-select_streams", str(plan.video.index), "-read_intervals", interval]
    decoded = plan.info.container == "avi"
    shown += ["-show_entries", DECODED_FIELDS if decoded else PACKET_FIELDS]
    found = ask(
        source,
        plan.info.container,
        shown,
        timeout_s=timeout_s,
        what=CUT_FAILED,
        cancelled=cancelled,
    )
    times = _of_decoded(found["frames"]) if decoded else _of_packets(found.get("packets", []))
    inside = sorted(pts for pts in times if plan.first_pts <= pts < plan.end_pts)
    if not inside:
        raise MediaError(f"{CUT_FAILED}: there is no frame in it; the video may be cut short.")
    after = [pts for pts in times if pts >= plan.end_pts]
    last = inside[-1]
    end = min(after) if after else last + (times[last] or round(1 / rate / tick))
    known_end_pts = round((Fraction(plan.video.start_s) + Fraction(plan.video.duration_s)) / tick)
    missing = min(plan.end_pts, known_end_pts) - end
    if not after and missing * tick > 2 / rate and not plan.video.variable:
        at_s = float(end * tick) - plan.info.start_s
        raise MediaError(
            f"{CUT_FAILED}: the file is cut short, and its picture ends at {at_s:.3f} s."
        )
    length_s = float((end - inside[0]) * tick)
    counts = {"cutdown": len(inside), "gif": max(1, round(length_s * GIF_RATE)), "still": 1}
    return Frames(counts[plan.spec.kind], inside[0], end, length_s)


def _of_packets(packets: list[dict[str, Any]]) -> dict[int, int]:
    """When each frame is shown, and for how long, in ticks; 0 when its packet does not tell."""
    times: dict[int, int] = {}
    for packet in packets:
        pts = packet.get("pts", packet.get("dts"))
        # A packet that an edit list cuts away is decoded, and not shown.
        if pts is not None and "D" not in packet.get("flags", ""):
            times[int(pts)] = int(packet.get("duration", 0))
    return times


def _of_decoded(frames: list[dict[str, Any]]) -> dict[int, int]:
    """As `_of_packets`, by the times that FFmpeg's decoder gives where the container has none."""
    times: dict[int, int] = {}
    for frame in frames:
        # The last frames that the decoder holds have no time: give them one tick after another.
        pts = frame.get("best_effort_timestamp")
        times[max(times, default=-1) + 1 if pts is None else int(pts)] = 1
    return times
