"""Progress events: from a worker, by Celery's events or a webhook, to those who watch a job.

`event` is the one event and its forms. `outbox` sends events out of a worker, as `celery_events`
or by `webhook`, which also receive them into the `feed` of a web server; those that are lost are
counted as `dropped`. `follow` makes the messages of one watcher of a job, from the feed and the job
store; `live` those of all who see a list of theirs, which it numbers in a `journal`. The package
knows no HTTP server. It may
import `cutmv.jobs`, `cutmv.media` and the transport's signatures.
"""

from cutmv.progress.accepted import accept, accepted_requests
from cutmv.progress.celery_events import EventReceiver, EventSender
from cutmv.progress.dropped import dropped_events
from cutmv.progress.event import ProgressEvent
from cutmv.progress.feed import FeedSubscriber, ProgressFeed
from cutmv.progress.follow import follow
from cutmv.progress.journal import View
from cutmv.progress.live import Live, News, Position
from cutmv.progress.outbox import Outbox
from cutmv.progress.webhook import WEBHOOK, WebhookSender, check_secret, verify
from cutmv.transports.cloudflare.edge import Rejected as WebhookRejected

__all__ = [
    "WEBHOOK",
    "EventReceiver",
    "EventSender",
    "FeedSubscriber",
    "Live",
    "News",
    "Outbox",
    "Position",
    "ProgressEvent",
    "ProgressFeed",
    "View",
    "WebhookRejected",
    "WebhookSender",
    "accept",
    "accepted_requests",
    "check_secret",
    "dropped_events",
    "follow",
    "verify",
]
