"""The remote queues: finds the temporary queues of other processes, and publishes to them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence

from cutmv.transports.cloudflare.errors import CloudflareError, NotFound
from cutmv.transports.cloudflare.fanout.binding_poller import FanoutServices
from cutmv.transports.cloudflare.fanout.reaper import Reaper
from cutmv.transports.cloudflare.fanout.temporary_queues import TemporaryQueues
from cutmv.transports.cloudflare.messages import BroadcastMessage
from cutmv.transports.cloudflare.queues import TemporaryBinding, exchange_digest, queue_digest

#: Seconds that a list of queues may take: it may lack what was created meanwhile.
LIST_TAKES = 5.0


class RemoteQueues:
    """The temporary queues of other processes, as the list of queues shows them.

    `own` are those of this process, which get their messages in memory. Only `publish` makes calls.
    """

    def __init__(self, services: FanoutServices, own: TemporaryQueues) -> None:
        self._client, self._directory = services.client, services.directory
        self._scope = services.options.queue_name_prefix
        self._own = own
        self._introduced: dict[TemporaryBinding, tuple[str, float]] = {}
        self._reaper = Reaper(services.client, services.directory)

    def introduce(self, binding: TemporaryBinding, queue_id: str) -> None:
        """Note a binding of which its process tells, until the queues are listed again.

        Any thread may call it.
        """
        self._introduced[binding] = queue_id, time.monotonic()

    def bound(self, exchange: str) -> dict[TemporaryBinding, str]:
        """Return the bindings to an exchange, and the ids of their binding queues."""
        digest = exchange_digest(self._scope, exchange)
        known = dict(self._directory.temporary_bindings(digest))
        listed_at = time.monotonic() - self._directory.age
        for binding, (queue_id, at) in list(self._introduced.items()):
            if at < listed_at - LIST_TAKES:
                self._introduced.pop(binding, None)
            elif binding.exchange == digest:
                known[binding] = queue_id
        return self._of_others(known)

    def queue_id(self, binding: TemporaryBinding) -> str | None:
        """Return the id of a binding's queue; none if the binding is gone."""
        found = self._directory.temporary_bindings(binding.exchange).get(binding)
        return found or self._introduced.get(binding, (None, 0.0))[0]

    def targets(self, message: BroadcastMessage) -> dict[TemporaryBinding, str]:
        """Return the bindings that match a message, and the ids of their binding queues.

        The default exchange leads to the queue of the key's name, by whichever of its bindings.
        """
        if not message.exchange:
            digest = queue_digest(self._scope, message.routing_key)
            bindings = {
                binding: queue.queue_id
                for queue in self._directory.all
                if (binding := TemporaryBinding.read(queue.name)) and binding.queue == digest
            }
            return dict(list(self._of_others(bindings).items())[:1])
        return {
            binding: id_
            for binding, id_ in self.bound(message.exchange).items()
            if binding.takes(message.routing_key)
        }

    def _of_others(self, known: Mapping[TemporaryBinding, str]) -> dict[TemporaryBinding, str]:
        if not known:
            return {}
        own = self._own.names
        return {binding: id_ for binding, id_ in dict(known).items() if binding not in own}

    def publish(
        self,
        binding: TemporaryBinding,
        queue_id: str,
        texts: Sequence[str],
        deadline: float,
        *,
        paid: bool = False,
    ) -> bool:
        """Publish messages to a binding queue; return false if it is gone.

        `paid` tells that the caller has taken the call from the rate limiter. Raises a
        `CloudflareError` where they were not accepted by `deadline`.
        """
        if not texts:
            return True
        try:
            backlog = self._client.publish(
                queue_id, [(text, 0) for text in texts], deadline, paid=paid
            )
        except NotFound:
            self._introduced.pop(binding, None)
            self._directory.forget_binding(binding)
            return False
        with contextlib.suppress(CloudflareError):  # the messages were accepted all the same
            self._reaper.check(binding, queue_id, backlog)
        return True
