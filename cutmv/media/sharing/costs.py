"""Tells how long an encoding will take, by how long others did. Pure.

A prior tells the seconds of one core for the pictures' sizes, the codec and the filters. What runs
took, as a multiple of that, is how fast the workers are with such work; their median is robust to
a machine that was busy once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from cutmv.media.engine_request import may_copy
from cutmv.media.plan import LIMIT_BASE_S, RenderPlan, time_limit_s
from cutmv.media.products.spec import SOUNDS
from cutmv.media.times import Clip

#: The prior, in seconds of one core of 2020: for any run; to decode a million pixels of H.264, and
#: of others by a factor; to scale, and to encode, a million pixels by x264.
START_S, DECODE_S, SCALE_S, ENCODE_S = 0.7, 0.003, 0.004, 0.006
DECODE_FACTORS = {"hevc": 2.0, "av1": 2.0, "vp9": 1.5, "prores": 3.0}
#: More for a million pixels of the source, to bring HDR to the standard range or fields together;
#: and of the output, to put it before its blurred enlargement.
TONE_MAP_S, FIELDS_S, BLUR_S = 0.060, 0.010, 0.005
#: Runs of a kind from which on its multiple is known, and how many the multiple of all counts for.
KNOWN_FROM, PRIOR_RUNS = 3, 2
#: The latest runs of a kind that count.
LATEST = 30
#: A time limit is never shorter than so many times the estimate.
LIMIT_TIMES = 8.0


@dataclass(frozen=True)
class Work:
    """What is to be encoded: its kind, and the seconds that it takes by the prior."""

    kind: str
    expected_s: float


@dataclass(frozen=True)
class Estimate:
    """The seconds that an encoding will take; `known` says that enough such runs were seen."""

    seconds: float
    known: bool


def work_of(plan: RenderPlan) -> Work:
    """What an output's encoding is, by itself."""
    video, spec = plan.video, plan.spec
    seen, made = (
        width * height / 1e6
        for width, height in ((video.coded_width, video.coded_height), (plan.width, plan.height))
    )
    blurred = spec.fit == "blur" and spec.aspect != "source"
    pictures = plan.pictures or float((plan.end - plan.start) * video.frame_rate)
    own_s = (
        seen * (TONE_MAP_S * video.hdr + FIELDS_S * (video.interlaced is not None))
        + made * (SCALE_S + ENCODE_S + BLUR_S * blurred)
    ) * pictures
    words = [video.codec, "hdr" * video.hdr, "fields" * bool(video.interlaced), "blur" * blurred]
    words += ["hardware" * (spec.encoded_by == "hardware")]
    return Work(" ".join(filter(None, words)), START_S + _decode_s(plan) + own_s)


def works_of(plans: Sequence[RenderPlan]) -> list[Work]:
    """What the encoding of each output is, where they are made by one decode, which they share."""
    alone = [work_of(each) for each in plans]
    decodes = [_decode_s(each) for each in plans]
    saved_s = sum(decodes) - max(decodes) + START_S * (len(plans) - 1)
    part = 1 - saved_s / sum(each.expected_s for each in alone)
    return [Work(each.kind, each.expected_s * part) for each in alone]


def weight_of(plan: RenderPlan) -> float:
    """How long an output takes to make, beside others that share time with it."""
    copied = plan.spec.kind in SOUNDS or may_copy(plan)
    return START_S if copied else work_of(plan).expected_s


def _decode_s(plan: RenderPlan) -> float:
    video = plan.video
    pictures = float((plan.end - plan.start) * video.frame_rate)
    seen = video.coded_width * video.coded_height / 1e6
    return pictures * seen * DECODE_S * DECODE_FACTORS.get(video.codec, 1.0)


class CostModel:
    """What runs took, as multiples of the prior, by the kind of work; the latest first.

    >>> CostModel({"h264": [2.0] * 20}).estimate(Work("h264", 10.0))
    Estimate(seconds=20.0, known=True)
    """

    def __init__(self, multiples: Mapping[str, Sequence[float]]) -> None:
        self._multiples = {kind: list(each[:LATEST]) for kind, each in multiples.items()}
        every = [each for of_kind in self._multiples.values() for each in of_kind]
        self._all = median([*every, *[1.0] * PRIOR_RUNS])

    @classmethod
    def of(cls, runs: Iterable[tuple[str, float, float]]) -> Self:
        """The model of runs, the latest first: their kind, their seconds by the prior, and real."""
        multiples: dict[str, list[float]] = {}
        for kind, expected_s, seconds in runs:
            if expected_s > 0 and seconds > 0:
                multiples.setdefault(kind, []).append(seconds / expected_s)
        return cls(multiples)

    def estimate(self, work: Work) -> Estimate:
        """How long a piece of work will take."""
        runs = self._multiples.get(work.kind, [])
        multiple = median([*runs, *[self._all] * PRIOR_RUNS])
        return Estimate(work.expected_s * multiple, len(runs) >= KNOWN_FROM)

    def limit_s(self, plan: RenderPlan) -> float:
        """Seconds after which a render is stopped: `time_limit_s` or, if known, less."""
        clip = plan.clip if plan.part is None else Clip(*plan.part)
        longest = time_limit_s(plan.info, clip, plan.spec)
        if plan.spec.kind != "cutdown":
            return longest
        estimate = self.estimate(work_of(plan))
        if not estimate.known:
            return longest
        return min(longest, LIMIT_BASE_S + LIMIT_TIMES * estimate.seconds)
