"""The metrics of a whole deployment, by what the monitor has seen, and of this process's counts."""

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from cutmv.jobs import JobsSeen, State
from cutmv.monitoring import Monitor
from cutmv.progress import dropped_events
from cutmv.transports.cloudflare import calls_report, operations_report

#: Seconds that a scrape waits at most for what is old; then what was seen before is told.
SCRAPE_WAIT_S = 1.0
#: Seconds after which what was seen is no longer told: an alert would believe it.
STALE_S = 300.0


def gauge(name: str, told: str, *values: float) -> GaugeMetricFamily:
    """A gauge without labels, or without a sample."""
    family = GaugeMetricFamily(name, told)
    for value in values:
        family.add_metric([], value)
    return family


def gauges(
    name: str, told: str, label: str, values: Iterable[tuple[str, float | None]]
) -> GaugeMetricFamily:
    """A gauge with a label; what is None has no sample."""
    family = GaugeMetricFamily(name, told, labels=[label])
    for key, value in values:
        if value is not None:
            family.add_metric([key], value)
    return family


class SeenMetrics:
    """What the monitor has seen; a neighbour that is away for long has no samples."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterable[Metric]:
        """None: to register is not to collect."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector; waits for SCRAPE_WAIT_S at most."""
        until = time.monotonic() + SCRAPE_WAIT_S
        for look in self._monitor.looks:
            look.want()  # all at once
        ages: list[tuple[str, float | None]] = []
        parts: tuple[Callable[[], Iterator[Metric]], ...]
        parts = (self._queues, self._workers, self._jobs, self._disks)
        for look, tell in zip(self._monitor.looks, parts, strict=True):
            seen = look.get(until)
            if seen.answer is not None:
                ages.append((look.name, seen.age_s))
                if seen.age_s < STALE_S:
                    yield from tell()
        yield gauges(
            "cutmv_seen_age_seconds",
            "Seconds since what is told of a part was seen; it is told for 300.",
            "part",
            ages,
        )
        if cost := self._monitor.cost():
            yield gauge(
                "cutmv_cloudflare_dollars_a_month",
                "What Cloudflare bills for a month like the time since the processes began.",
                cost.whole,
            )

    def _queues(self) -> Iterator[Metric]:
        queues = self._monitor.queues.seen.answer or ()
        yield gauges(
            "cutmv_queue_messages",
            "Messages in our queues and in their dead-letter queues, roughly.",
            "queue",
            ((each.name, each.messages) for each in queues),
        )
        yield gauges(
            "cutmv_dead_letters",
            "Those of them in dead-letter queues.",
            "queue",
            ((each.name, each.messages) for each in queues if each.is_dead_letters),
        )
        yield gauges(
            "cutmv_queue_oldest_message_seconds",
            "Age of a queue's oldest message; 0 where it has none.",
            "queue",
            ((each.name, each.oldest_s if each.messages else 0.0) for each in queues),
        )
        yield gauges(
            "cutmv_queue_paused",
            "1 while nobody gets a queue's messages, since somebody paused it.",
            "queue",
            ((each.name, each.paused) for each in queues),
        )

    def _workers(self) -> Iterator[Metric]:
        workers = self._monitor.workers.seen.answer or ()
        if self._monitor.dispatcher.services.settings.mode == "eager":
            return
        busy = sum(each.busy > 0 for each in workers)
        yield gauges(
            "cutmv_workers",
            "Workers that answer, by whether they run a task.",
            "state",
            (("busy", busy), ("idle", len(workers) - busy)),
        )
        yield gauges(
            "cutmv_worker_slots",
            "How many tasks they can run at once, by whether they do.",
            "state",
            (
                ("busy", sum(each.busy for each in workers)),
                ("idle", sum(max(0, each.slots - each.busy) for each in workers)),
            ),
        )
        yield gauge(
            "cutmv_unwell_workers",
            "Workers that had an error in a thread within a minute, which nobody expected.",
            sum(bool(each.unwell) for each in workers),
        )
        yield gauge(
            "cutmv_worker_dropped_events",
            "Progress events that were lost since the present workers began.",
            sum(each.dropped_events for each in workers),
        )

    def _jobs(self) -> Iterator[Metric]:
        looked = self._monitor.jobs.seen.answer
        if looked is None:
            return
        seen = looked.seen
        for kind in ("job", "step"):
            counted = ((state.value, seen.counts.get((kind, state.value), 0)) for state in State)
            yield gauges(f"cutmv_{kind}s", f"{kind}s by state.", "state", counted)
        yield from _waiting(seen)
        yield gauge(
            "cutmv_slow_steps",
            "Steps that run for long, and longer than they should.",
            len(looked.slow),
        )
        yield gauges(
            "cutmv_recent_steps",
            "Steps that began, and that ended, in the last five minutes.",
            "what",
            (("begun", seen.begun), ("ended", seen.ended)),
        )
        yield gauges(
            "cutmv_stored_bytes",
            "Bytes of all uploads, of what is made of them to be seen, and of outputs.",
            "kind",
            seen.stored.items(),
        )

    def _disks(self) -> Iterator[Metric]:
        disks = self._monitor.disks.seen.answer or ()
        for name, told in (
            ("free", "Bytes that are free on each file system, by a folder of ours on it."),
            ("reserve", "Bytes that must be, or uploads and jobs are refused."),
            ("size", "Bytes that it has."),
        ):
            sizes = ((str(each.folder), getattr(each, name)) for each in disks)
            yield gauges(f"cutmv_disk_{name}_bytes", told, "folder", sizes)


def _waiting(seen: JobsSeen) -> Iterator[Metric]:
    waiting = seen.waiting.waiting
    yield gauges(
        "cutmv_waiting_steps",
        "Steps that wait, by what for.",
        "reason",
        ((reason, each.count) for reason, each in waiting.items()),
    )
    yield gauges(
        "cutmv_oldest_waiting_step_seconds",
        "How long the oldest step that waits has, by what for.",
        "reason",
        ((reason, each.oldest_s) for reason, each in waiting.items()),
    )
    yield gauge(
        "cutmv_stranded_steps",
        "Steps that wait for their turn for long while no step runs.",
        seen.waiting.stranded,
    )


class OwnCounts:
    """What this process has counted: nobody is asked."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterable[Metric]:
        """None: to register is not to collect."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        yield CounterMetricFamily(
            "cutmv_dropped_events", "Progress events that were lost here.", dropped_events()
        )
        janitor = self._monitor.janitor
        yield gauge(
            "cutmv_janitor_last_sweep_timestamp_seconds",
            "When this process's janitor last deleted what has expired.",
            *(() if janitor is None or janitor.swept_at is None else (janitor.swept_at,)),
        )
        if self._monitor.dispatcher.services.settings.mode != "cloudflare":
            return
        operations = operations_report()
        billed = CounterMetricFamily(
            "cutmv_billed_operations",
            "Operations of this process that Cloudflare bills.",
            labels=["kind"],
        )
        for kind in ("writes", "reads", "deletes"):
            billed.add_metric([kind], operations[kind])
        yield billed
        yield CounterMetricFamily(
            "cutmv_api_calls",
            "Calls of this process that count against the account's limit.",
            operations["calls"],
        )
        calls = calls_report()
        if not calls:
            return
        yield gauge(
            "cutmv_api_calls_recent", "Those of them in the last five minutes.", calls["used"]
        )
        yield gauge("cutmv_api_calls_limit", "How many of those it may make.", calls["limit"])
        yield gauge(
            "cutmv_api_account_left",
            "Which part of the account's calls is left, as Cloudflare says; 1 where it says none.",
            calls["account_left"],
        )
