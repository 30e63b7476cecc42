"""Run one step as a worker does, and die by SIGKILL at a named line of it.

python -m tests.support.die_at STEP_ID POINT, where POINT is one of POINTS.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from cutmv.jobs import Claims
from cutmv.services import services
from cutmv.worker import making
from cutmv.worker import step as running

#: After each of these the process is gone; `("object", "method")` and whether the call is made.
POINTS: dict[str, tuple[str, str, bool]] = {
    "before the claim": ("claims", "claim", False),
    "after the claim": ("claims", "claim", True),
    "before the cut": ("module", "render", False),
    "after the cut": ("module", "render", True),
    "before the output is stored": ("storage", "put_file", False),
    "after the output is stored": ("storage", "put_file", True),
    "before the step is done": ("claims", "finish", False),
    "after the step is done": ("claims", "finish", True),
}


def main() -> None:
    """Replace the named function by one that ends this process, and run the step."""
    step_id, point = sys.argv[1:]
    where, name, call_it = POINTS[point]
    owner: Any = {
        "claims": Claims,
        "module": making,
        "storage": type(services().storage),
    }[where]
    setattr(owner, name, deadly(getattr(owner, name), call_it))
    running.StepRun(services(), step_id, owner="doomed", route="redis", listeners=[]).run()


def deadly(function: Callable[..., Any], call_it: bool) -> Callable[..., Any]:
    """Return what ends this process by SIGKILL, instead of `function` or right after it."""

    def die(*args: Any, **kwargs: Any) -> None:
        if call_it:
            function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return die


if __name__ == "__main__":
    main()
