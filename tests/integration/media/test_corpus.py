"""Random clips of every kind of source: each frame and each sample of sound where it belongs."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest

from cutmv.media import Clip
from tests.support import corpus
from tests.support.corpus import KINDS, SECONDS

#: Cuts of each kind.
CUTS = 10
SEED = 20261126


def random_clip(chance: random.Random) -> Clip:
    """A clip of milliseconds, from one picture to nearly all of the source."""
    start = Fraction(chance.randint(0, 1000 * SECONDS - 700), 1000)
    longest = 1000 * SECONDS - 200 - int(1000 * start)
    length = Fraction(
        chance.randint(40, max(41, min(longest, chance.choice((400, 3000, 9000))))), 1000
    )
    return Clip(start, start + length)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_random_clips_are_exact(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    source = corpus.make(kind, tmp_path / f"source.{kind.suffix}")
    chance = random.Random(f"{SEED}/{name}")
    packets = corpus.payloads(source)
    for _ in range(CUTS):
        clip = random_clip(chance)
        try:
            made, told = corpus.check(kind, source, clip, tmp_path)
        except AssertionError as error:
            raise AssertionError(
                f"{name}, {float(clip.start)}-{float(clip.end)}: {error}"
            ) from error
        if kind.copied:
            # What is copied is copied bit for bit.
            assert (corpus.payloads(made) & packets).total() >= told.copied
        else:
            assert told.copied == 0
        made.unlink()
