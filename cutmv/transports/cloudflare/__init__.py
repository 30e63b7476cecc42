"""Cloudflare Queues as a kombu transport. Importing this package registers ``cloudflare://``.

    import cutmv.transports.cloudflare
    app = Celery(broker="cloudflare://:API_TOKEN@ACCOUNT_ID")

    with publish_batch(app):  # loops of `apply_async` by calls of up to 100 messages
        ...

Nothing of the rest of ``cutmv`` is imported, and httpx only when a connection is opened. The
packages and modules, from top to bottom, each importing only those below it:

- ``transport``, ``channel``, ``routing``: what kombu sees; a publish's `Route` is computed once.
  ``admin``: what a person does to queues
- ``session``: one of each of what follows for a process, shared by its connections
- ``consumer``: from the broker to the worker. ``producer``: from a publish to the broker.
  ``fanout``: temporary queues, for remote control and events
- ``edge``: talks to the edge Worker. ``leases``: how a delivery ends
- ``queues``: which queues there are, and what they are bound to. ``messages``: what a message is
- ``api``: the REST API. ``celery_worker``: what the transport asks of Celery
- ``options``, ``runtime``, ``errors``: what the transport can be told; threads and pauses; what can
  go wrong
"""

from typing import TYPE_CHECKING, Any

from kombu.transport import TRANSPORT_ALIASES

if TYPE_CHECKING:
    from cutmv.transports.cloudflare.messages.limits import MAX_PUSHED
    from cutmv.transports.cloudflare.producer import publish_batch

__all__ = ["MAX_PUSHED", "publish_batch"]

TRANSPORT_ALIASES["cloudflare"] = "cutmv.transports.cloudflare.transport:Transport"


def __getattr__(name: str) -> Any:
    # Registering the transport must stay cheap for those who never publish.
    if name == "publish_batch":
        from cutmv.transports.cloudflare import producer

        return producer.publish_batch
    if name == "MAX_PUSHED":
        from cutmv.transports.cloudflare.messages import limits

        return limits.MAX_PUSHED
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
