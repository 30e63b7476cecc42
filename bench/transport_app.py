"""The Celery app that `bench/transport.py` measures, for its worker and for its publishers."""

from __future__ import annotations

import json
import os
import struct
import time
from functools import lru_cache

from celery import Celery

#: One record of a started task: when it was published, and when it started, seconds since 1970.
RECORD = struct.Struct("<dd")
#: Messages that a worker takes ahead for each process, as one does for short tasks.
PREFETCH = 64


def make_app(broker: str, options: dict[str, object]) -> Celery:
    """An app as its users have it, but for results: nobody waits for a no-op's."""
    if broker.startswith("cloudflare:"):
        import cutmv.transports.cloudflare  # noqa: F401 - names the transport to kombu

        if os.environ.get("BENCH_LOOP") == "blocking":
            _block()
    app = Celery("bench", broker=broker)
    app.conf.update(
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        task_default_queue="bench",
        task_ignore_result=True,
        worker_prefetch_multiplier=PREFETCH,
    )
    app.task(nothing, name="nothing")
    return app


def _block() -> None:
    """Have Celery take messages by blocking calls, not by its event loop: the alternative."""
    from cutmv.transports.cloudflare.transport import Transport

    Transport.implements = Transport.implements.extend(asynchronous=False)


def nothing(published_at: float) -> None:
    """Note the start, in one write, so that processes do not mix theirs."""
    os.write(_starts(), RECORD.pack(published_at, time.time()))


@lru_cache(maxsize=1)
def _starts() -> int:
    return os.open(os.environ["BENCH_STARTS"], os.O_WRONLY | os.O_APPEND)


if "BENCH_BROKER" in os.environ:
    app = make_app(os.environ["BENCH_BROKER"], json.loads(os.environ["BENCH_OPTIONS"]))
