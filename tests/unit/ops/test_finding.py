"""How checks run side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from cutmv.ops.finding import Finding, ok, run


def test_a_check_that_hangs_or_fails_keeps_what_it_found_and_no_other() -> None:
    never = threading.Event()

    def hanging() -> Iterator[Finding]:
        yield ok("one", "found")
        never.wait()

    def failing() -> Iterator[Finding]:
        raise RuntimeError("a secret")
        yield

    findings = run(
        [("hanging", hanging), ("failing", failing), ("well", lambda: iter([ok("two", "")]))],
        timeout_s=0.2,
    )
    never.set()

    assert [(each.mark, each.what) for each in findings] == [
        ("ok", "one"),
        ("problem", "hanging"),
        ("problem", "failing"),
        ("ok", "two"),
    ]
    assert findings[2].found == "RuntimeError in the check"
