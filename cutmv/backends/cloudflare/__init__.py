"""Celery's results in the edge Worker: ``result_backend="cloudflare://"``, whatever the broker.

    export CLOUDFLARE_EDGE_URL=https://… CLOUDFLARE_EDGE_KEYS=whsec_…
    app = Celery(broker="cloudflare://", backend="cloudflare://")

`backend` is the class that Celery finds by that name: results, groups. `chords` counts the parts of
chords. `consumer` is told of results over the hub. `notes` keeps revoked tasks and rate limits.
`beat` is a scheduler of which several may run. `connection` holds what the backends of a process
share, `calls` has concurrent operations share calls, `values` says how values are written, and
`finding` where the Worker is. Imports Celery and the transport's `edge`, and nothing else of
``cutmv``.
"""

from cutmv.backends.cloudflare.backend import CloudflareBackend

__all__ = ["CloudflareBackend"]
