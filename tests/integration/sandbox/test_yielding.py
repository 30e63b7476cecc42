"""Children yield to the process that answers people, and the work of some to that of others."""

from __future__ import annotations

import contextvars
import os
import sys
import time

import pytest

from cutmv.media import RenderTimeout, yielding
from cutmv.media.running.child import NICE, YIELDING_TIMES, Limits, run
from cutmv.media.sandbox.access import Access


def schedule_of_child(*, yields: bool) -> tuple[int, int]:
    """The niceness and the policy of a child that a context starts."""
    heard: list[str] = []
    code = "import os; print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))"
    yielding.set(yields)
    argv, limits = [sys.executable, "-I", "-S", "-c", code], Limits(2**30, 0, 60.0)
    run(argv, limits=limits, access=Access(), on_line=heard.append)
    niceness, policy = heard[0].split()
    return int(niceness), int(policy)


def test_a_child_yields_to_its_parent() -> None:
    found = contextvars.Context().run(schedule_of_child, yields=False)
    assert found == (min(19, os.nice(0) + NICE), os.SCHED_OTHER)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")
def test_a_child_of_who_has_more_to_do_has_what_nobody_else_wants() -> None:
    assert contextvars.Context().run(schedule_of_child, yields=True) == (19, os.SCHED_IDLE)


def seconds_until_stopped(*, yields: bool) -> float:
    """How long a child that goes on for ever may go on that is limited to a tenth of a second."""
    yielding.set(yields)
    argv = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
    began = time.monotonic()
    with pytest.raises(RenderTimeout):
        run(argv, limits=Limits(2**30, 0, 0.1), access=Access(), on_line=lambda _: None)
    return time.monotonic() - began


def test_what_yields_to_others_has_more_time() -> None:
    assert contextvars.Context().run(seconds_until_stopped, yields=True) >= 0.1 * YIELDING_TIMES
    assert contextvars.Context().run(seconds_until_stopped, yields=False) < 0.1 * YIELDING_TIMES
