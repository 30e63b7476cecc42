"""The remote queues: finds the temporary queues of other processes, and publishes to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cutmv.transports.cloudflare.errors import NotFound
from cutmv.transports.cloudflare.fanout.binding_poller import FanoutServices
from cutmv.transports.cloudflare.fanout.reaper import Reaper
from cutmv.transports.cloudflare.fanout.temporary_queues import TemporaryQueues
from cutmv.transports.cloudflare.messages import BroadcastMessage
from cutmv.transports.cloudflare.queues import TemporaryBinding, exchange_digest, queue_digest


class RemoteQueues:
    """The temporary queues of other processes, as the list of queues shows them.

    `own` are those of this process, which get their messages in memory. Only `publish` makes calls.
    """

    def __init__(self, services: FanoutServices, own: TemporaryQueues) -> None:
        self._client, self._directory = services.client, services.directory
        self._scope = services.options.queue_name_prefix
        self._own = own
        self._reaper = Reaper(services.client, services.directory)

    def bound(self, exchange: str) -> dict[TemporaryBinding, str]:
        """Return the bindings to an exchange, and the ids of their binding queues."""
        return self._of_others(
            self._directory.temporary_bindings(exchange_digest(self._scope, exchange))
        )

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
        self, binding: TemporaryBinding, queue_id: str, texts: Sequence[str], deadline: float
    ) -> bool:
        """Publish messages to a binding queue; return false if it is gone.

        Raises a `CloudflareError` where they were not accepted by `deadline`.
        """
        if not texts:
            return True
        try:
            self._client.publish(queue_id, [(text, 0) for text in texts], deadline)
        except NotFound:
            self._directory.forget_binding(binding)
            return False
        self._reaper.check(binding, queue_id)
        return True
