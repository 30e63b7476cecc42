"""What `cutmv doctor` looks at.

Each check is a generator of `finding.Finding`s, so that what it found before it failed or hung is
kept. None changes what it looks at: what is written is removed again, and what is asked for to
learn of a permission is nothing that could be done.

`machine` is of what runs here, `account` of Cloudflare's API and the bucket, `network` of what is
reached by address: the edge Worker, the webhook, Redis, clocks.
"""

from cutmv.ops.checks.account import bucket, queues
from cutmv.ops.checks.machine import data_directory, database, ffmpeg, ingress, variables
from cutmv.ops.checks.network import clock, edge, redis, webhook

__all__ = [
    "bucket",
    "clock",
    "data_directory",
    "database",
    "edge",
    "ffmpeg",
    "ingress",
    "queues",
    "redis",
    "variables",
    "webhook",
]
