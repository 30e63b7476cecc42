"""Damaged files by the thousand, as long as there is time."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.support import mutants

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

#: Files that are tried at most.
MUTANTS = 10_000


def test_mutants_neither_hang_nor_escape_nor_leave_anything(
    seconds: float, dice: random.Random, tmp_path: Path
) -> None:
    """Each is made, in part perhaps, or refused in a line; the parents' memory stays as it is."""
    until = time.monotonic() + seconds
    seed = dice.randrange(1_000_000)

    report = mutants.try_all(
        mutants.make_sources(tmp_path), seed, range(MUTANTS), lambda: time.monotonic() < until
    )

    print(f"\n{report.ends.total()} mutants of {seed}: {dict(report.ends)}")
    print(f"memory of the parents: {min(report.memory_mb):.0f} to {max(report.memory_mb):.0f} MB")
    print(*report.wrong, sep="\n")
    assert report.wrong == []
