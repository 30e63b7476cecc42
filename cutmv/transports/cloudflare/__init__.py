"""Cloudflare Queues as a kombu transport. Importing this package registers ``cloudflare://``.

    import cutmv.transports.cloudflare
    app = Celery(broker="cloudflare://:API_TOKEN@ACCOUNT_ID")

Nothing of the rest of ``cutmv`` is imported, and httpx only when a connection is opened.
The modules, each knowing only those above it:

- ``errors``, ``names``, ``options``, ``envelope``, ``delays``: plain data and pure functions
- ``budget``, ``api``: the REST client and the account's rate limit
- ``addresses``, ``queues``: which queues exist, found or created by name
- ``publisher``, ``leases``: batched publishing; batched acks and retries
- ``fanout``, ``mailboxes``, ``broadcast``: exchanges and temporary queues, inside this process
  and between processes
- ``session``: one of each of the above for a process, shared by its connections
- ``deadletters``, ``prefetch``, ``inbox``, ``puller``: from batched pulls to the consumer's loop
- ``channel``, ``transport``: what kombu sees
- ``admin``, ``replay``, ``orphans``: what a person does to queues; the transport needs none of them
"""

from kombu.transport import TRANSPORT_ALIASES

TRANSPORT_ALIASES["cloudflare"] = "cutmv.transports.cloudflare.transport:Transport"
