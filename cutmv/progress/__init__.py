"""From Celery events and webhooks to those who watch a job; knows no HTTP server.

`outbox` takes them out of a worker, by Celery's events or, with `webhook`, by HTTP. `hub` hands
events on inside one process; `receiver` (Celery events) and `webhook` feed it; `follow` is what
one watcher of a job is told, from the hub and from the job store.
"""

from cutmv.progress.follow import follow
from cutmv.progress.hub import Hub
from cutmv.progress.outbox import EventSender, Outbox
from cutmv.progress.receiver import EventReceiver
from cutmv.progress.webhook import WebhookSender, verify
from cutmv.transports.cloudflare.edge.signature import Rejected as WebhookRejected
from cutmv.transports.cloudflare.edge.signature import SeenIds

__all__ = [
    "EventReceiver",
    "EventSender",
    "Hub",
    "Outbox",
    "SeenIds",
    "WebhookRejected",
    "WebhookSender",
    "follow",
    "verify",
]
