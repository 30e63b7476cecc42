"""Cloudflare Queues as a kombu transport. Importing this package registers ``cloudflare://``.

    import cutmv.transports.cloudflare
    app = Celery(broker="cloudflare://:API_TOKEN@ACCOUNT_ID")

    with publish_batch(app):  # loops of `apply_async` by calls of up to 100 messages
        ...

This package imports nothing of the rest of ``cutmv``, and httpx only when a connection is opened.
Its packages and modules, from top to bottom, each importing only those below it:

- ``transport``, ``channel``, ``declaring``, ``routing``, ``exchanges``: the classes that kombu
  calls; a publish's `Route` is computed once. ``admin``: an operator's commands on queues
- ``session``: the objects that a process's connections to an account share
- ``consumer``: brings messages to the worker. ``producer``: publishes messages. ``fanout``:
  temporary queues, for remote control and events
- ``edge``: talks to the edge Worker. ``leases``: ends deliveries
- ``queues``: names, finds and creates queues and bindings. ``messages``: encodes messages, and
  keeps large ones in an object store
- ``api``: calls the REST API. ``celery_hooks``: asks the process's Celery worker, and has Celery
  publish canvases by few calls
- ``options``, ``runtime``, ``shared_counts``, ``troubles``, ``errors``: the transport's options;
  threads and pauses; counts that forked processes share; errors that threads outlive; its own
  errors
"""

from typing import TYPE_CHECKING, Any

from kombu.transport import TRANSPORT_ALIASES

from cutmv.transports.cloudflare.celery_hooks import publish as celery_publish
from cutmv.transports.cloudflare.runtime import keep_going, threads_report
from cutmv.transports.cloudflare.shared_counts import SharedCounts
from cutmv.transports.cloudflare.troubles import note_trouble, shown

if TYPE_CHECKING:
    from cutmv.transports.cloudflare.api.operations import operations_report
    from cutmv.transports.cloudflare.api.rate_limit import calls_report
    from cutmv.transports.cloudflare.messages.limits import MAX_PUSHED
    from cutmv.transports.cloudflare.producer import publish_batch

__all__ = [
    "MAX_PUSHED",
    "SharedCounts",
    "calls_report",
    "keep_going",
    "note_trouble",
    "operations_report",
    "publish_batch",
    "shown",
    "threads_report",
]

TRANSPORT_ALIASES["cloudflare"] = "cutmv.transports.cloudflare.transport:Transport"
celery_publish.attach()


def __getattr__(name: str) -> Any:
    # Importing this package must stay cheap for a process that never publishes.
    if name == "publish_batch":
        from cutmv.transports.cloudflare import producer

        return producer.publish_batch
    if name == "operations_report":
        from cutmv.transports.cloudflare.api import operations

        return operations.operations_report
    if name == "calls_report":
        from cutmv.transports.cloudflare.api import rate_limit

        return rate_limit.calls_report
    if name == "MAX_PUSHED":
        from cutmv.transports.cloudflare.messages import limits

        return limits.MAX_PUSHED
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
