"""The Queues REST API: calls, answers, and the account's limit of calls.

`client` makes the calls, `responses` reads their answers, `rate_limit` keeps calls within the
account's limit, `http` is one exchange, `credentials` say whose account it is. Imports `errors`,
`options` and `runtime`.
"""

from cutmv.transports.cloudflare.api.client import Client
from cutmv.transports.cloudflare.api.credentials import Credentials
from cutmv.transports.cloudflare.api.http import exchange
from cutmv.transports.cloudflare.api.rate_limit import RateLimiter
from cutmv.transports.cloudflare.api.responses import Backlog, Pulled

__all__ = ["Backlog", "Client", "Credentials", "Pulled", "RateLimiter", "exchange"]
