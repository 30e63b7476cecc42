"""Adds pull consumers to queues, one to each, though several processes do it at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    Conflict,
    NotFound,
    Refused,
)
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues.bindings import TemporaryBinding
from cutmv.transports.cloudflare.queues.consumer_policy import (
    Queue,
    kept_consumer,
    pull_consumer,
    without_pull_consumer,
)


class PullConsumers:
    """Adds pull consumers.

    Cloudflare is believed to refuse a queue's second consumer; where it does not, several
    processes that start together add one each. So each looks afterwards, and removes what it added
    itself if another was there first. If it dies before, the queue works with two.
    """

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._options = options

    def add(
        self,
        queue: Queue,
        make_dead_letter_queue: Callable[[str], object],
        deadline: float,
        *,
        takes_dead_letters: bool,
    ) -> Queue:
        """Return the queue with its consumer; add one if it has none.

        `make_dead_letter_queue` creates the queue of a name if there is none. Raises `QueueMissing`
        where no consumer can be added. Where the token may not add one, the queue is returned as it
        is: a producer needs none.
        """
        consumer = pull_consumer(queue.name, self._options, takes_dead_letters=takes_dead_letters)
        try:
            # First, since Cloudflare drops a dead letter whose dead-letter queue does not exist.
            if dead_letters := consumer.get("dead_letter_queue"):
                make_dead_letter_queue(dead_letters)
            ours = self._client.create_consumer(queue.queue_id, consumer, deadline)
        except AccessDenied:
            # Raises where the token is refused altogether, and not for changes alone.
            return queue.consumed(self._client.list_consumers(queue.queue_id, deadline))
        except (Refused, Conflict) as error:
            # Most likely the queue has a consumer by now.
            found = queue.consumed(self._client.list_consumers(queue.queue_id, deadline))
            if found.consumer is None and error.passing:
                raise
            if found.consumer is None:
                raise without_pull_consumer(queue.name, str(error)) from None
            return found
        if TemporaryBinding.read(queue.name) is None:  # a binding queue belongs to one process
            with contextlib.suppress(CloudflareError):
                return self._keep_one(queue, ours, deadline)
        return queue.consumed([consumer])

    def _keep_one(self, queue: Queue, ours: str | None, deadline: float) -> Queue:
        consumers = self._client.list_consumers(queue.queue_id, deadline)
        kept = kept_consumer(consumers)
        if kept is None:
            raise NotFound("the consumer that was added is not listed yet")
        if ours is not None and ours != kept.get("consumer_id"):
            with contextlib.suppress(NotFound):
                self._client.delete_consumer(queue.queue_id, ours, deadline)
        return queue.consumed(consumers)
