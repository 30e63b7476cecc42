"""What the transport is held to, and whether a run of `bench/transport.py` met it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from measure import Row

#: Milliseconds of the idle poll interval (option `polling_interval_max`).
IDLE_POLL_MS = 1_000
#: Milliseconds an idle start may take beyond the poll and the calls.
IDLE_ALLOWANCE_MS = 50
#: HTTP calls and billed operations of a drained task at most.
CALLS_PER_TASK, OPERATIONS_PER_TASK = 0.05, 3.03


@dataclass(frozen=True)
class Target:
    """One bound, what was measured, and whether that is within it."""

    what: str
    measured: str
    bound: str
    met: bool


def judge(rows: Iterable[Row]) -> list[Target]:
    """Hold the figures of all brokers to each target."""
    by = {(row.kind, row.latency_ms): row for row in rows}
    far, near = by["cloudflare", 50], by["cloudflare", 0]
    targets = [
        _ratio("drain at 50 ms, times SQS's", far.drain_per_s, by["sqs", 50].drain_per_s, 5),
        _ratio("drain at 50 ms, times Redis's", far.drain_per_s, by["redis", 50].drain_per_s, 1),
        _ratio("drain at 0 ms, times SQS's", near.drain_per_s, by["sqs", 0].drain_per_s, 2),
        _ratio(
            "publish in a batch block at 50 ms, times Redis's plain loop",
            far.publish_batch_per_s or 0,
            by["redis", 50].publish_1_per_s,
            10,
        ),
    ]
    for row in (near, far):
        at = f"at {row.latency_ms} ms"
        idle = IDLE_POLL_MS / 2 + 2 * row.latency_ms + IDLE_ALLOWANCE_MS
        targets += [
            most(f"idle queue, p50 to start {at}, ms", row.idle_p50_ms, idle),
            most(f"HTTP calls a drained task {at}", row.drain_calls_per_task, CALLS_PER_TASK),
            most(f"billed operations a task {at}", row.operations_per_task, OPERATIONS_PER_TASK),
        ]
    targets.append(
        most("busy queue, p50 to start at 50 ms, ms", far.steady_p50_ms, 2 * far.latency_ms)
    )
    return targets


def table(targets: Iterable[Target]) -> str:
    """For people, in Markdown."""
    lines = ["| target | bound | measured | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {each.what} | {each.bound} | {each.measured} | {'pass' if each.met else 'FAIL'} |"
        for each in targets
    ]
    return "\n".join(lines)


def _ratio(what: str, ours: float, theirs: float, least: float) -> Target:
    ratio = ours / theirs
    return Target(what, f"{ratio:.1f}", f"≥ {least:g}", ratio >= least)


def most(what: str, value: float | None, bound: float) -> Target:
    """A target that a value must not exceed."""
    if value is None:
        return Target(what, "-", f"≤ {bound:g}", met=False)
    return Target(what, f"{value:g}", f"≤ {bound:g}", value <= bound)
