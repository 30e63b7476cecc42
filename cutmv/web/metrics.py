"""Metrics for Prometheus, in a registry of each application's own."""

import time
from collections.abc import Iterable

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from cutmv.dispatch import Dispatcher
from cutmv.jobs import State
from cutmv.transports.cloudflare import calls_report, threads_report

#: The threads of this process that have a series of their own; the transport's have one together.
THREADS = {
    "checks",
    "event-receiver",
    "event-sender",
    "heartbeat",
    "janitor",
    "live",
    "local-runner",
    "webhook",
    "websocket",
}
#: The methods that have a series; clients may invent others.
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
#: Seconds; an answer takes milliseconds, an upload minutes.
LATENCY_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)


class Metrics:
    """Counts of requests and WebSockets, and what the job store has, and the dispatcher does."""

    def __init__(self, dispatcher: Dispatcher) -> None:
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
            "1 while jobs run in the web process, since the broker does not answer.",
            registry=self.registry,
        )
        fallback.set_function(lambda: dispatcher.breaker.reason is not None)
        self.registry.register(_Threads())
        self.registry.register(_States(dispatcher))
        self.registry.register(_Broker(dispatcher))


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


class _States:
    """Jobs and steps by state, and the steps that wait, by reason.

    Asked of the store at each scrape, so true for all processes; left out while it is away.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._store, self._backlog = dispatcher.services.store, dispatcher.backlog

    def describe(self) -> Iterable[Metric]:
        return ()  # or registering would already ask the database

    def collect(self) -> Iterable[Metric]:
        try:
            counts, report = self._store.counts(), self._backlog.report()
        except SQLAlchemyError:
            return
        for kind in ("job", "step"):
            family = GaugeMetricFamily(f"cutmv_{kind}s", f"{kind}s by state.", labels=["state"])
            for state in State:
                family.add_metric([state.value], counts.get((kind, state.value), 0))
            yield family
        waiting = GaugeMetricFamily(
            "cutmv_waiting_steps", "Steps that wait, by what for.", labels=["reason"]
        )
        oldest = GaugeMetricFamily(
            "cutmv_oldest_waiting_step_seconds",
            "How long the oldest step that waits has, by what for.",
            labels=["reason"],
        )
        for reason, steps in report.waiting.items():
            waiting.add_metric([reason], steps.count)
            oldest.add_metric([reason], steps.oldest_s)
        yield waiting
        yield oldest
        yield GaugeMetricFamily(
            "cutmv_stranded_steps",
            "Steps that wait for their turn for long while no step runs.",
            report.stranded,
        )


class _Broker:
    """What the queues hold, and the calls that this process makes of Cloudflare's API.

    The queues are asked once a minute at most; left out while the broker is away, or there is none.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        messages = GaugeMetricFamily(
            "cutmv_queue_messages",
            "Messages in our queues and in their dead-letter queues, roughly.",
            labels=["queue"],
        )
        for name, count in self._dispatcher.depths().items():
            messages.add_metric([name], count)
        yield messages
        calls = calls_report()
        if not calls:
            return
        made = "Calls of this process that count against the account's limit."
        yield CounterMetricFamily("cutmv_api_calls", made, calls["made"])
        used = "Those of them in the last five minutes."
        yield GaugeMetricFamily("cutmv_api_calls_recent", used, calls["used"])
        yield GaugeMetricFamily(
            "cutmv_api_calls_limit", "How many of those it may make.", calls["limit"]
        )
        yield GaugeMetricFamily(
            "cutmv_api_account_left",
            "Which part of the account's calls is left, as Cloudflare says; 1 where it says none.",
            calls["account_left"],
        )


def register(app: Flask, metrics: Metrics) -> None:
    """Count the requests of `app` in `metrics`."""

    def begin() -> None:
        g.began = time.monotonic()

    def end(response: Response) -> Response:
        rule = request.url_rule
        # The rule, not the path: ids would make a new series each.
        route = rule.rule if rule else "unknown"
        method = request.method if request.method in METHODS else "other"
        # A WebSocket's answer comes when it closes, which is no latency.
        if rule is None or not rule.websocket:
            metrics.latency.labels(route, method).observe(time.monotonic() - g.began)
        metrics.requests.labels(route, method, str(response.status_code)).inc()
        return response

    app.before_request(begin)
    app.after_request(end)
