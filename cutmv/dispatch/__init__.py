"""From a job to its running steps: by the broker, or in this process when the broker fails.

`dispatcher` sends the steps; `circuit_breaker` keeps it from a dead broker, and `local_runner` runs
them here, by `turns`. What it asks the broker is told again while it is `recent`. `deriving` sends
what makes derivatives. `objects` makes uploads of what others put into the bucket. `deleter`
deletes for good; `janitor` sends what a crash has left, and deletes what has expired. The package
may import `cutmv.worker` and everything below.
"""

from cutmv.dispatch.circuit_breaker import CircuitBreaker
from cutmv.dispatch.deleter import Deleter
from cutmv.dispatch.dispatcher import Dispatcher
from cutmv.dispatch.janitor import Janitor
from cutmv.dispatch.local_runner import LocalRunner

__all__ = ["CircuitBreaker", "Deleter", "Dispatcher", "Janitor", "LocalRunner"]
