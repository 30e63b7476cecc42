"""Children yield to the process that answers people, and the work of some to that of others."""

from __future__ import annotations

import contextvars
import os
import sys

import pytest

from cutmv.media import yielding
from cutmv.media.running.child import NICE, Limits, run
from cutmv.media.sandbox.access import Access


def niceness_of_child(levels: int) -> int:
    """The niceness of a child that a context with so many further levels starts."""
    heard: list[str] = []
    argv = [sys.executable, "-I", "-S", "-c", "import os; print(os.nice(0))"]
    yielding.set(levels)
    run(argv, limits=Limits(2**30, 0, 60.0), access=Access(), on_line=heard.append)
    return int(heard[0])


@pytest.mark.parametrize("levels", [0, 3])
def test_a_child_yields_to_its_parent(levels: int) -> None:
    found = contextvars.Context().run(niceness_of_child, levels)
    assert found == min(19, os.nice(0) + NICE + levels)
