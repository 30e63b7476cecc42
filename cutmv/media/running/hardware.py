"""Finds the hardware encoder that works here: the first that encodes a few pictures."""

from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from cutmv.media.engine_request import why_by_software
from cutmv.media.errors import CUT_FAILED, RenderTimeout
from cutmv.media.plan import RenderPlan
from cutmv.media.products.encoders import HARDWARE, Encoder
from cutmv.media.products.quality import USUAL
from cutmv.media.products.spec import FILMS
from cutmv.media.running.binaries import ffmpeg_path
from cutmv.media.running.child import Limits, run
from cutmv.media.sandbox.access import Access

#: What is encoded to try one: of a size that all take, and enough that none holds all back.
TRIED = ("-f", "lavfi", "-i", "testsrc2=s=640x360:r=30", "-frames:v", "30")
TRIED_RATE = Fraction(30)
#: Seconds that a trial may take.
TRIAL_S = 20.0


def hardware_encoder() -> Encoder | None:
    """The hardware encoder that works here, which is looked for once in a process.

    Raises MediaUnavailable where there is no FFmpeg.
    """
    return _first_of(ffmpeg_path())


@lru_cache(maxsize=4)
def _first_of(program: str) -> Encoder | None:
    return next((each for each in HARDWARE if _works(program, each)), None)


def _works(program: str, encoder: Encoder) -> bool:
    argv = [program, "-hide_banner", "-nostdin", "-v", "error", *TRIED]
    argv += [
        "-vf",
        encoder.filters or "format=yuv420p",
        *encoder.arguments(USUAL, TRIED_RATE),
        "-f",
        "null",
        "-",
    ]
    limits, access = Limits(None, 0, TRIAL_S), Access(graphics=True)
    try:
        return run(argv, limits=limits, access=access, on_line=lambda _: None).code == 0
    except RenderTimeout:  # its driver hangs
        return False


class ByHardware:
    """What encodes an output for which hardware is wanted: its `encoder`, until that fails.

    There is none where software does it; `warnings` say why, where hardware was wanted.
    """

    def __init__(self, plan: RenderPlan, path: Path, *, in_parts: bool) -> None:
        self.encoder: Encoder | None = None
        self.warnings: tuple[str, ...] = ()
        if plan.spec.encoded_by != "hardware" or plan.spec.kind not in FILMS:
            return
        why = "it was made in parts" if in_parts else why_by_software(plan, path)
        if why is None:
            self.encoder = hardware_encoder()
        if self.encoder is None:
            self._warn(why or "no hardware encoder works here")

    def failed(self, error: Exception) -> bool:
        """Whether an output that failed is to be made anew, by software."""
        if self.encoder is None:
            return False
        why = str(error).removeprefix(f"{CUT_FAILED}: ").rstrip(".")
        self._warn(f"{self.encoder.name} failed ({why})")
        self.encoder = None
        return True

    def _warn(self, why: str) -> None:
        self.warnings = (f"The picture was encoded by software: {why}.",)
