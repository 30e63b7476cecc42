"""The Queues REST API: calls, responses, and the account's limit of calls.

`client` makes the calls, `failures` tells which have failed, and how, `responses` and `published`
read the other responses, `listing` walks through the pages of the list of queues, `rate_limit`
keeps calls within the account's limit and those that `told_limits` reads from headers, `operations`
counts what is billed, `habits` learns from calls what is not certain of Cloudflare, `http` makes
one HTTP exchange, `credentials` holds the account and its token. `notifications` has R2 put
messages into queues.
Imports `errors`, `options`, `runtime` and `shared_counts`.
"""

from cutmv.transports.cloudflare.api.client import PAGE_SIZE, Client
from cutmv.transports.cloudflare.api.credentials import Credentials
from cutmv.transports.cloudflare.api.http import exchange
from cutmv.transports.cloudflare.api.notifications import (
    NotificationRule,
    add_notification_rule,
    notification_rules,
)
from cutmv.transports.cloudflare.api.rate_limit import RateLimiter
from cutmv.transports.cloudflare.api.responses import Backlog, Pulled

__all__ = [
    "PAGE_SIZE",
    "Backlog",
    "Client",
    "Credentials",
    "NotificationRule",
    "Pulled",
    "RateLimiter",
    "add_notification_rule",
    "exchange",
    "notification_rules",
]
