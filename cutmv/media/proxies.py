"""Plan a proxy: a small film of a whole video, which any browser can play. Pure."""

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Self

from cutmv.media.errors import MediaError
from cutmv.media.info import MediaInfo
from cutmv.media.plan import RenderPlan, plan, time_limit_s
from cutmv.media.products.spec import OutputSpec
from cutmv.media.times import Clip

#: The version of how a proxy is made; what another version kept is made anew.
VERSION = 1
#: Pixels of a proxy's shorter side, and pictures a second, at most.
SIDE, RATE = 360, 30
#: Bits a second of its picture, and bytes of that, at most: of a long video it is coarser.
BIT_RATE, PICTURE_BYTES = 800_000, 400_000_000
#: Bits a second of a picture at least, which is one of a day.
LEAST_BIT_RATE = 35_000


@dataclass(frozen=True)
class Proxy:
    """A film in place of a video that a browser can't play; its size in pixels and bytes."""

    width: int
    height: int
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it, with the version."""
        return {"version": VERSION} | asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self | None:
        """The inverse of `to_json`; none of another version's."""
        if plain.get("version") != VERSION:
            return None
        return cls(plain["width"], plain["height"], plain["size_bytes"])


def plan_proxy(info: MediaInfo) -> RenderPlan:
    """How the proxy of a video is made: all of it, small. Raises MediaError when it can't be."""
    video = info.video
    if video is None:
        raise MediaError("The file has no picture: send a video.")
    part = min(1.0, SIDE / min(video.width, video.height))
    width, height = (max(2, round(side * part / 2) * 2) for side in (video.width, video.height))
    bits = max(LEAST_BIT_RATE, min(BIT_RATE, int(PICTURE_BYTES * 8 / info.length)))
    spec = OutputSpec(
        kind="cutdown",
        aspect="source",
        fit="crop",
        size=(width, height),
        fastest=RATE,
        bit_rate=bits,
        exact_copy="never",
    )
    return plan(info, Clip(Fraction(0), info.length), spec)


def proxy_limit_s(info: MediaInfo) -> float:
    """The seconds that the making of a proxy may take."""
    planned = plan_proxy(info)
    return time_limit_s(info, planned.clip, planned.spec)
