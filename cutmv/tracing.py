"""OpenTelemetry, from a request to FFmpeg: spans where an exporter is set, else nothing at all.

The SDK (extra `otel`) is imported at the first span of a process, and reads the variables of
OpenTelemetry by itself. A message's headers carry the context (W3C's `traceparent`).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: Milliseconds after which ended spans are sent: a pool's process may end soon.
SEND_AFTER_MS = 1000

#: The tracer and its provider, by the process that made them: a forked one makes its own.
_made: dict[int, tuple[Any, Any]] = {}


def is_traced() -> bool:
    """Whether the environment names where spans are sent."""
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


@contextmanager
def span(
    name: str,
    about: Mapping[str, Any],
    *,
    kind: str = "INTERNAL",
    carrier: Mapping[str, str] | None = None,
) -> Iterator[Any]:
    """Have the block be a span, whose parent is the one in `carrier`, or else the present one.

    `about` are its attributes, without those that are None, and `kind` is one of OpenTelemetry's.
    Yields the span, or None where nothing is traced.
    """
    if not is_traced():
        yield None
        return
    from opentelemetry import propagate, trace

    tracer, _ = _of_process()
    with tracer.start_as_current_span(
        name,
        context=None if carrier is None else propagate.extract(carrier),
        kind=trace.SpanKind[kind],
        attributes={key: value for key, value in about.items() if value is not None},
    ) as made:
        yield made


def carried() -> dict[str, str]:
    """The present context, as headers; empty where nothing is traced."""
    headers: dict[str, str] = {}
    if is_traced():
        from opentelemetry import propagate

        propagate.inject(headers)
    return headers


def trace_id() -> str | None:
    """The present trace, in the hexadecimal digits by which others know it; None without one."""
    if not _made:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def flush() -> None:
    """Send the spans that have ended; this process is about to end."""
    if (made := _made.get(os.getpid())) is not None:
        made[1].shutdown()


def _of_process() -> tuple[Any, Any]:
    if (made := _made.get(os.getpid())) is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = {SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or "cutmv"}
        provider = TracerProvider(resource=Resource.create(name))
        exporter = OTLPSpanExporter()
        provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=SEND_AFTER_MS)
        )
        made = provider.get_tracer("cutmv"), provider
        _made.clear()
        _made[os.getpid()] = made
    return made
