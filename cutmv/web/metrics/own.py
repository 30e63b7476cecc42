"""Metrics for Prometheus, in a registry of each application's own.

Who scrapes waits for no neighbour: what the monitor has seen is told, and how old that is.
"""

import time
from collections.abc import Iterable

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from cutmv.monitoring import Monitor
from cutmv.transports.cloudflare import threads_report
from cutmv.web.metrics.seen import OwnCounts, SeenMetrics

#: The threads of this process that have a series of their own; the transport's have one together.
THREADS = {
    "checks",
    "event-receiver",
    "event-sender",
    "heartbeat",
    "janitor",
    "job-mailer",
    "live",
    "local-runner",
    "look",
    "webhook",
    "websocket",
}
#: The methods that have a series; clients may invent others.
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
#: Seconds; an answer takes milliseconds, an upload minutes.
LATENCY_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)


class Metrics:
    """Counts of requests and WebSockets, and what the monitor has seen."""

    def __init__(self, monitor: Monitor) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cutmv_http_requests",
            "Answers, by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "cutmv_http_request_seconds",
            "Time from the head of a request to the head of its answer.",
            ["route", "method"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.websockets = Gauge(
            "cutmv_websocket_clients", "Open WebSockets.", registry=self.registry
        )
        fallback = Gauge(
            "cutmv_fallback",
            "1 while the circuit breaker is open: jobs run in the web process, since the broker"
            " does not answer.",
            registry=self.registry,
        )
        fallback.set_function(lambda: monitor.dispatcher.breaker.reason is not None)
        self.registry.register(_Threads())
        self.registry.register(SeenMetrics(monitor))
        self.registry.register(OwnCounts(monitor))


class _Threads:
    """Errors that nobody expected, in this process's threads: ours by name, the transport's as one.

    A name that met none has no sample.
    """

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        errors = CounterMetricFamily(
            "cutmv_thread_errors",
            "Errors that nobody expected; the thread went on.",
            labels=["thread"],
        )
        unwell = GaugeMetricFamily(
            "cutmv_thread_unwell", "1 for a minute after such an error.", labels=["thread"]
        )
        report = threads_report()
        ours = {name: each for name, each in report["troubled"].items() if name in THREADS}
        theirs = [each for name, each in report["troubled"].items() if name not in THREADS]
        for name, each in ours.items():
            errors.add_metric([name], each["errors"])
            unwell.add_metric([name], not each["well"])
        of_ours = sum(each["errors"] for each in ours.values())
        errors.add_metric(["transport"], report["errors"] - of_ours)
        unwell.add_metric(["transport"], not all(each["well"] for each in theirs))
        yield errors
        yield unwell


def register(app: Flask, metrics: Metrics) -> None:
    """Count the requests of `app` in `metrics`."""

    def begin() -> None:
        g.began = time.monotonic()

    def end(response: Response) -> Response:
        rule = request.url_rule
        # The rule, not the path: ids would make a new series each.
        route = rule.rule if rule else "unknown"
        method = request.method if request.method in METHODS else "other"
        metrics.latency.labels(route, method).observe(time.monotonic() - g.began)
        metrics.requests.labels(route, method, str(response.status_code)).inc()
        return response

    app.before_request(begin)
    app.after_request(end)
