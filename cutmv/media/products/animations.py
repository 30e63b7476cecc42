"""Animations without sound: how large, how fast and of how many colours, to a size in bytes."""

from dataclasses import dataclass
from math import log2

#: Seconds of an animation at most; of a longer clip its first seconds are.
LONGEST_S = 6


@dataclass(frozen=True)
class Animation:
    """An animation's width in pixels, its pictures a second, and its colours (a GIF's)."""

    width: int
    rate: int
    colours: int

    @property
    def weight(self) -> float:
        """How large it is, about, beside others of the same clip."""
        return self.width**2 * self.rate * log2(self.colours)


#: From what is usual to what is small: fewer colours, a smaller picture, fewer pictures.
LADDER = (
    Animation(480, 10, 256),
    Animation(480, 10, 128),
    Animation(480, 10, 64),
    Animation(400, 10, 64),
    Animation(360, 8, 64),
    Animation(320, 8, 32),
    Animation(240, 8, 32),
    Animation(240, 5, 32),
    Animation(160, 5, 16),
    Animation(96, 4, 8),
)


def smaller(than: Animation, ratio: float) -> Animation | None:
    """The largest animation that may be smaller than another by `ratio`; none where none may be.

    Each is at least one step down, so that tries end.
    """
    rest = LADDER[LADDER.index(than) + 1 :]
    fits = (each for each in rest if each.weight <= than.weight * ratio)
    return next(fits, rest[-1] if rest else None)
