"""Cloudflare Queues as a kombu transport. Importing this package registers ``cloudflare://``.

    import cutmv.transports.cloudflare
    app = Celery(broker="cloudflare://:API_TOKEN@ACCOUNT_ID")

    with publish_batch(app):  # loops of `apply_async` by calls of up to 100 messages
        ...

Nothing of the rest of ``cutmv`` is imported, and httpx only when a connection is opened.
The modules, each knowing only those above it:

- ``errors``, ``names``, ``envelope``, ``delays``: plain data and pure functions
- ``objects``, ``ledger``, ``options``: an object store; who works on which message; what the
  transport can be told
- ``celery_worker``: what the transport asks of Celery
- ``large``: messages over the limit
- ``budget``, ``answers``, ``api``: the REST client and the account's rate limit
- ``addresses``, ``queues``, ``routes``: which queues exist, found or created by name; what they are
  bound to
- ``signature``, ``edge``: signed requests, and publishing through the edge Worker
- ``publisher``, ``leases``, ``keeper``: batched publishing; batched acks and retries; leases that
  follow the work
- ``fanout``, ``hub``, ``mailbox``, ``mailboxes``, ``broadcast``: exchanges and temporary queues,
  inside this process and between processes
- ``ingress``: the HTTP server of push mode
- ``session``: one of each of the above for a process, shared by its connections
- ``batch``: blocks in which publishing is gathered
- ``deadletters``, ``admission``, ``prefetch``, ``inbox``, ``puller``, ``receiver``,
  ``subscription``: from batched pulls, or pushes, to the consumer's loop
- ``exchanges``, ``channel``, ``transport``: what kombu sees
- ``admin``, ``replay``, ``orphans``: what a person does to queues; the transport needs none of them
"""

from typing import TYPE_CHECKING, Any

from kombu.transport import TRANSPORT_ALIASES

if TYPE_CHECKING:
    from cutmv.transports.cloudflare.producer.batch import publish_batch

__all__ = ["MAX_PUSHED", "publish_batch"]

#: Seconds that a pushed task may take, by its hard time limit: Cloudflare ends the Worker that
#: waits for it after 15 minutes, and ours gives up half a minute before.
MAX_PUSHED = 870.0

TRANSPORT_ALIASES["cloudflare"] = "cutmv.transports.cloudflare.transport:Transport"


def __getattr__(name: str) -> Any:
    # Registering the transport must stay cheap for those who never publish.
    if name == "publish_batch":
        from cutmv.transports.cloudflare.producer import batch

        return batch.publish_batch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
