"""Random clips of random sources, for as long as there is time."""

from __future__ import annotations

import random
import time
import traceback
from fractions import Fraction
from pathlib import Path

import pytest

from cutmv.media import Clip
from tests.support import corpus

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

#: Clips that are cut at least, whatever the time; and of how many each source has.
CUTS, EACH = 3_000, 25


def test_random_cuts_of_random_sources_are_exact(
    seconds: float, dice: random.Random, tmp_path: Path
) -> None:
    """First and last frame, each once and in order, the sound, and no decoder's complaint."""
    wrong: list[str] = []
    made = copied = 0
    until = time.monotonic() + seconds
    for number in range(CUTS // EACH):
        if time.monotonic() > until:
            break
        kind = corpus.random_kind(dice)
        source = corpus.make(kind, tmp_path / f"source-{number}.{kind.suffix}", seconds=12)
        packets = corpus.payloads(source)
        for _ in range(EACH):
            start = Fraction(dice.randint(0, 11_000), 1000)
            end = start + Fraction(dice.randint(40, 11_800 - int(1000 * start)), 1000)
            try:
                path, told = corpus.check(kind, source, Clip(start, end), tmp_path)
                assert (corpus.payloads(path) & packets).total() >= told.copied
                copied += told.copied > 0
                path.unlink()
            except Exception:
                clip = f"{float(start)}-{float(end)}"
                wrong.append(f"{kind}: {clip}: {traceback.format_exc(limit=-1)[-700:]}")
                print(wrong[-1], flush=True)
            made += 1
        source.unlink()
    print(f"\n{made} clips, {copied} of them smart-cut, {len(wrong)} wrong")
    assert not wrong
