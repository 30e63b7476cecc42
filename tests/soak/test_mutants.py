"""Damaged files by the thousand, as long as there is time."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import mutants, mutants_by_http

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

#: Files that are tried at most.
MUTANTS = 10_000


def test_mutants_neither_hang_nor_escape_nor_leave_anything(
    seconds: float, dice: random.Random, tmp_path: Path
) -> None:
    """Each is made, in part perhaps, or refused in a line; the parents' memory stays as it is.

    Some are sent to a server, as people do, whose processes are watched.
    """
    until = time.monotonic() + seconds
    seed, sources = dice.randrange(1_000_000), mutants.make_sources(tmp_path)

    def on() -> bool:
        return time.monotonic() < until

    # Others, which are sent to a server meanwhile.
    theirs = range(MUTANTS, 2 * MUTANTS)
    with ThreadPoolExecutor(1) as beside:
        sending = beside.submit(
            mutants_by_http.send_all, tmp_path / "web", sources, seed, theirs, on
        )
        report = mutants.try_all(sources, seed, range(MUTANTS), on)
        tell(report, f"mutants of {seed}", "the parents")
        sent = sending.result()
    tell(sent, "sent to a server", "the server")

    assert report.wrong == []
    assert sent.wrong == []


def tell(report: mutants.Report, what: str, whose: str) -> None:
    """Print what became of them, before anything else may fail."""
    print(f"\n{report.ends.total()} {what}: {dict(report.ends)}")
    print(f"memory of {whose}: {min(report.memory_mb):.0f} to {max(report.memory_mb):.0f} MB")
    print(*report.wrong, sep="\n", flush=True)
