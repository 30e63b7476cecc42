"""Plan the queues of a deployment: the queues of tasks, their dead-letter queues, the consumers.

Names and settings are those that the transport itself would create (`pull_consumer`), so that a
worker finds what it would have made. `wrangler deploy` makes the consumer of an edge Worker; the
settings that the transport needs of it are planned here too, should somebody have changed them.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from cutmv.ops.plan import ApiSettings, Item, LeftAlone, compared
from cutmv.transports.cloudflare.admin import deadline
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import Conflict, Refused
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import (
    DEAD_LETTER_RETENTION,
    RETENTION,
    QueueDirectory,
    pull_consumer,
)

#: The settings that the edge Worker's consumer must have; wrangler.toml says why. Others are kept.
#: None is no bound but Cloudflare's own: what finds no room waits in the workers, and under a bound
#: below what they can run they would idle.
PUSH_CONSUMER: ApiSettings = {
    "batch_size": 1,
    "max_concurrency": None,
    "max_wait_time_ms": 0,
    "max_retries": 100,
}

#: Seconds for the first answer of the API.
FIRST_ANSWER_S = 10.0

Found = Mapping[str, Any]


class QueuePlanner:
    """Plans the queues of one deployment. Its methods and items raise `CloudflareError`s."""

    def __init__(self, client: Client, options: Options, names: Sequence[str]) -> None:
        self._client, self._options = client, options
        self._names = names
        self._ids: dict[str, str] = {}

    def plan(self) -> list[Item]:
        """Return the items of the plan, in the order in which changes must be applied."""
        # A wrong address, or no network, is reported soon; later calls wait for longer.
        listed = self._client.list_queues(time.monotonic() + FIRST_ANSWER_S)
        found = {each["queue_name"]: each for each in listed}
        self._ids = {name: each["queue_id"] for name, each in found.items()}
        return [item for name in self._names for item in self._plan(name, found)]

    def _plan(self, kombu_name: str, found: Mapping[str, Found]) -> list[Item]:
        name = QueueDirectory(self._client, self._options).queue_name(kombu_name)
        pulled = pull_consumer(name, self._options)
        dead = pulled.get("dead_letter_queue", "")
        items: list[Item] = []
        if dead:
            # First: Cloudflare drops a dead message whose dead-letter queue does not exist.
            items += self._queue(dead, found.get(dead), DEAD_LETTER_RETENTION)
            # `cutmv queues replay` needs it.
            last = pull_consumer(dead, self._options, takes_dead_letters=True)
            items.append(self._pulled(dead, last))
        items += self._queue(name, found.get(name), RETENTION)
        if self._options.pushes(kombu_name):
            items.append(self._pushed(name, dead))
        else:
            items.append(self._pulled(name, pulled))
        return items

    def _queue(self, name: str, found: Found | None, retention: int) -> list[Item]:
        have = None if found is None else {"message_retention_period": _retention(found)}
        # A longer retention was set on purpose.
        seconds = max(retention, _retention(found) if found else 0)

        def apply() -> str | None:
            queue = found or self._made(name)
            self._ids[name] = queue["queue_id"]
            return None if _retention(queue) == seconds else self._retain(name, seconds)

        want = {"message_retention_period": seconds}
        items: list[Item] = [compared(f"queue {name}", have, want, apply)]
        if ((found or {}).get("settings") or {}).get("delivery_paused"):
            why = "its delivery is paused, so nobody gets its messages"
            advice = f"npx wrangler queues resume-delivery {name}"
            items.append(LeftAlone(f"delivery of {name}", why, advice))
        return items

    def _pulled(self, name: str, want: ApiSettings) -> Item:
        what = f"pull consumer of {name}"
        found = self._consumer(name)
        if found and found.get("type") != "http_pull":
            # Wrangler's own answers have the older name.
            script = found.get("script_name") or found.get("script") or "WORKER"
            return LeftAlone(
                what,
                f"the Worker {script} consumes {name}, so nothing can be pulled from it",
                f"npx wrangler queues consumer worker remove {name} {script}",
                blocks=True,
            )
        return self._consumed(what, name, found, want)

    def _pushed(self, name: str, dead: str) -> Item:
        what = f"Worker consumer of {name}"
        found = self._consumer(name)
        if found is None:
            return LeftAlone(
                what,
                "no Worker consumes it yet, so no worker gets anything",
                f"deploy the edge Worker, with {name} in wrangler.toml:"
                " cd edge && npm ci && npm run deploy",
            )
        if found.get("type") == "http_pull":
            return LeftAlone(
                what,
                f"{name} has a pull consumer, so no Worker can push from it",
                f"npx wrangler queues consumer http remove {name}",
                blocks=True,
            )
        want = {
            "type": "worker",
            "script_name": found.get("script_name") or found.get("script"),
            "settings": PUSH_CONSUMER,
            **({"dead_letter_queue": dead} if dead else {}),
        }
        return self._consumed(what, name, found, want)

    def _consumed(self, what: str, name: str, found: Found | None, want: ApiSettings) -> Item:
        have = None if found is None else _flat(found)
        return compared(what, have, _flat(want), lambda: self._set_consumer(name, found, want))

    def _consumer(self, name: str) -> Found | None:
        """The queue's consumer, a pull consumer before others; None where there is none."""
        if name not in self._ids:
            return None
        found = self._client.list_consumers(self._ids[name], deadline())
        found.sort(key=lambda consumer: consumer.get("type") != "http_pull")
        return found[0] if found else None

    def _made(self, name: str) -> Found:
        try:
            return self._client.create_queue(name, deadline())
        except (Refused, Conflict):
            # Another has made it meanwhile; or we have, and the answer was lost.
            for queue in self._client.list_queues(deadline()):
                if queue["queue_name"] == name:
                    return queue
            raise

    def _retain(self, name: str, seconds: int) -> str | None:
        try:
            self._client.change(self._ids[name], {"message_retention_period": seconds}, deadline())
        except Refused as error:
            # The free plan fixes how long messages stay; all else works with it.
            return f"how long {name} keeps messages stays as it is: {error}"
        return None

    def _set_consumer(self, name: str, found: Found | None, want: ApiSettings) -> None:
        queue_id = self._ids[name]
        if found is None:
            try:
                self._client.create_consumer(queue_id, want, deadline())
            except (Refused, Conflict):
                # As above; the next run compares the consumer that is there.
                if not self._client.list_consumers(queue_id, deadline()):
                    raise
            return
        # The call replaces all settings, so those that stay are sent too.
        settings = {**(found.get("settings") or {}), **want["settings"]}
        merged = {
            "dead_letter_queue": found.get("dead_letter_queue") or "",
            **want,
            "settings": {name: value for name, value in settings.items() if value is not None},
        }
        self._client.update_consumer(queue_id, str(found.get("consumer_id")), merged, deadline())


def _retention(queue: Found) -> int:
    settings = queue.get("settings") or {}
    return int(settings.get("message_retention_period") or RETENTION)


def _flat(consumer: Found) -> ApiSettings:
    """A consumer's settings and its dead-letter queue, if it has one, side by side."""
    dead = consumer.get("dead_letter_queue")
    return {
        **(consumer.get("settings") or {}),
        **({"dead_letter_queue": dead} if dead else {}),
    }
