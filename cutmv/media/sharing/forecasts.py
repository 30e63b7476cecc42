"""Tells what an output will take before it is made: time, bytes, and what is copied. Pure.

The time is by how long other encodings took; the bytes are rough, since they depend on what is
seen.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cutmv.media.engine_request import may_copy
from cutmv.media.plan import RenderPlan
from cutmv.media.products.quality import BITS, BITS_OF_OTHERS
from cutmv.media.products.spec import SOUNDS
from cutmv.media.sharing.costs import START_S, CostModel, work_of

#: Bytes a second that are copied, from a disk or a storage nearby.
COPIED_BYTES_A_S = 50e6
#: A film that is encoded has so many times the bits of what is kept of its source's picture; where
#: that is made smaller, this power of the pixels, and where larger, that.
ENCODED_TIMES, BY_SMALLER, BY_LARGER = 1.4, 0.75, 0.4
#: Bits a second of the sound that is encoded, by the kind of output; that of films is AAC.
SOUND_BITS = {"m4a": 192e3, "mp3": 256e3, "wav": 1536e3, "flac": 900e3}
FILM_SOUND_BITS = 192e3
#: Bytes of a pixel of each picture of an animation, and of a still.
PIXEL_BYTES = {"gif": 0.35, "webp": 0.06, "still": 0.15}


@dataclass(frozen=True)
class Forecast:
    """What an output will take: `seconds` of work, and about so many bytes.

    Of a film `copied_s` are the source's own pictures and `encoded_s` others; none where that is
    not known yet. `reason` says why none are copied. `known` says whether enough alike was made.
    """

    seconds: float
    size_bytes: int
    copied_s: float | None
    encoded_s: float | None
    reason: str | None
    known: bool


def forecast(plan: RenderPlan, model: CostModel, keys: Sequence[float]) -> Forecast:
    """What the output of a plan will take; `keys` are when key pictures of its source are shown.

    They are in their order, in seconds from the file's start.
    """
    work, length = work_of(plan), float(plan.length_s)
    if plan.spec.kind in SOUNDS:
        size = length * SOUND_BITS[plan.spec.kind] / 8
        return Forecast(START_S, round(size), None, None, None, known=False)
    copied_s = _copied_s(plan, keys)
    part = 1.0 if not length or copied_s is None else max(0.0, 1 - copied_s / length)
    expected_s = START_S + (work.expected_s - START_S) * part
    estimate = model.estimate(replace(work, expected_s=expected_s))
    of_source = plan.info.size_bytes / max(0.1, plan.info.duration_s)
    copied_bytes = (copied_s or 0.0) * of_source
    is_film = plan.spec.kind == "cutdown"
    return Forecast(
        seconds=round(estimate.seconds + copied_bytes / COPIED_BYTES_A_S, 1),
        size_bytes=round(copied_bytes + _encoded_bytes(plan, of_source, length * part)),
        copied_s=None if copied_s is None else round(copied_s, 3),
        encoded_s=None if copied_s is None else round(length - copied_s, 3),
        reason=plan.reason if is_film else None,
        known=estimate.known,
    )


def _copied_s(plan: RenderPlan, keys: Sequence[float]) -> float | None:
    """Seconds of a film that are copied: from its first key picture on. None: not known."""
    if plan.spec.kind != "cutdown" or plan.spec.exact_copy == "never" or not may_copy(plan):
        return 0.0 if plan.spec.kind == "cutdown" else None
    if not keys:
        return None
    start, end = float(plan.clip.start), float(plan.clip.end)
    place = bisect_left(keys, start - 1e-4)
    first = keys[place] if place < len(keys) else end
    return max(0.0, end - max(start, first))


def _encoded_bytes(plan: RenderPlan, of_source: float, seconds: float) -> float:
    """About how many bytes so many seconds of an output have that are encoded."""
    spec, video = plan.spec, plan.video
    if spec.kind in PIXEL_BYTES:
        size = (plan.pictures or 1) * plan.width * plan.height * PIXEL_BYTES[spec.kind]
        return min(size, spec.max_bytes or size)
    shapes = plan.width * video.height / (plan.height * video.width)
    kept = min(shapes, 1 / shapes) if spec.fit == "crop" else 1.0
    scale = plan.width * plan.height / (video.width * video.height * kept)
    bits = ENCODED_TIMES * of_source * 8 / BITS.get(video.codec, BITS_OF_OTHERS)
    bits *= kept * float(scale ** (BY_SMALLER if scale < 1 else BY_LARGER))
    sound = FILM_SOUND_BITS if plan.sounds and spec.kind != "canvas" else 0.0
    return seconds * (min(bits, spec.bit_rate or bits) + sound) / 8
