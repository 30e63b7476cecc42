"""What the doctor makes of what the workers tell of their threads."""

from __future__ import annotations

from typing import Any

from cutmv.ops.checks.workers import findings_of


def told(**troubled: bool) -> dict[str, Any]:
    """What a worker tells; whether each thread that met an error is well again."""
    threads = {
        name: {"well": well, "errors": 3, "last_error": "ValueError: x", "seconds_ago": 1}
        for name, well in troubled.items()
    }
    return {"cloudflare": {"threads": {"well": all(troubled.values()), "troubled": threads}}}


def test_threads_that_are_not_well_are_named_with_their_worker_and_error() -> None:
    found = list(findings_of({"w1@a": told(acks=False, leases=True), "w2@b": told()}))
    assert [each.mark for each in found] == ["warning", "ok"]
    assert found[0].found == "acks of w1@a met 3 error(s): ValueError: x"
    assert found[1].found == "1 worker(s) answer whose threads are well"


def test_who_does_not_answer_or_knows_of_no_threads_is_no_trouble() -> None:
    assert [each.mark for each in findings_of({})] == ["skipped"]
    assert [each.mark for each in findings_of({"older@a": {}})] == ["ok"]
