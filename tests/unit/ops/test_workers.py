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


def test_workers_with_another_ledger_than_the_rest_are_a_problem() -> None:
    def uses(ledger: str | None, seconds: float | None = 300.0) -> dict[str, Any]:
        return {"cloudflare": {"leases": {"ledger": ledger, "seconds": seconds}}}

    here, none, new = uses("the edge Worker"), uses(None, 3600.0), uses(None, None)
    *_, found = findings_of({"a": here, "b": none, "c": here, "d": new})
    assert found.mark == "problem"
    assert "(the edge Worker: a, c; none: b)" in found.found
    *_, found = findings_of({"a": here, "c": here, "d": new})
    assert (found.mark, found.found) == ("ok", "the edge Worker: a, c")
