"""Progress events: from a worker, by Celery's events or a webhook, to those who watch a job.

`event` is the one event and its forms. `outbox` sends events out of a worker, as `celery_events`
or by `webhook`, which also receive them into the `feed` of a web server; those that are lost are
counted as `dropped`. `live` makes the messages of all who look on, from the feed and the job store,
and numbers them in a `journal`; `audience` knows who they are, and `shown` what they have seen. The
package knows no HTTP server. It may import `cutmv.jobs`, `cutmv.media` and the transport's
signatures.
"""

from cutmv.progress.accepted import accept, accepted_requests
from cutmv.progress.audience import Ending, Watcher
from cutmv.progress.celery_events import EventReceiver, EventSender
from cutmv.progress.dropped import dropped_events
from cutmv.progress.event import ProgressEvent
from cutmv.progress.feed import FeedSubscriber, ProgressFeed
from cutmv.progress.journal import View
from cutmv.progress.live import Live, Position
from cutmv.progress.outbox import Outbox
from cutmv.progress.webhook import WEBHOOK, WebhookSender, check_secret, verify
from cutmv.transports.cloudflare.edge import Rejected as WebhookRejected

__all__ = [
    "WEBHOOK",
    "Ending",
    "EventReceiver",
    "EventSender",
    "FeedSubscriber",
    "Live",
    "Outbox",
    "Position",
    "ProgressEvent",
    "ProgressFeed",
    "View",
    "Watcher",
    "WebhookRejected",
    "WebhookSender",
    "accept",
    "accepted_requests",
    "check_secret",
    "dropped_events",
    "verify",
]
