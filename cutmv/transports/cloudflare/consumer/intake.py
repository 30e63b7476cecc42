"""What a pull brought: which of it goes to the consumer, and what becomes of the rest."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from cutmv.transports.cloudflare.consumer.dead_letters import bury
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    LedgerUnavailable,
    ObjectMissing,
    ObjectStoreError,
)
from cutmv.transports.cloudflare.leases.acknowledger import Lease
from cutmv.transports.cloudflare.leases.renewer import Deadly, Keeper
from cutmv.transports.cloudflare.messages import claim_check as large
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.messages import eta as delays
from cutmv.transports.cloudflare.producer.group_commit import Outgoing
from cutmv.transports.cloudflare.queues.directory import MAX_RETRIES, Queue
from cutmv.transports.cloudflare.queues.names import Named
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Seconds until a message comes again whose further delay was not accepted, whose object could not
#: be read, or of which the ledger could not tell whether somebody has it.
AGAIN = 10.0

#: Messages of a pull about which the ledger is asked at once.
ASKERS = 8

Message = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """An entry of a pull's answer, the message or reference read from it, and its lease."""

    entry: Mapping[str, Any]
    message: Message
    lease: Lease


class Admission:
    """Sorts what was pulled from one queue. `lose` is told of leases that another consumer took."""

    def __init__(
        self, name: Named, queue: Queue, session: Session, lose: Callable[[Lease], None]
    ) -> None:
        self.name = name
        self.queue = queue
        self._session = session
        self._lose = lose
        self._allowed = MAX_RETRIES if queue.max_retries is None else queue.max_retries

    def admit(self, pulled: list[dict[str, Any]], until: float) -> list[Message]:
        """Return the messages for the consumer, each with its lease, which ends at `until`.

        What is not due, or what another consumer still has, waits on in the queue. What can't be
        read goes to the dead letters. Calls Cloudflare, the ledger and the object store, so it is
        for threads that may wait.
        """
        unreadable: list[tuple[Mapping[str, Any], str]] = []
        waiting: list[tuple[Lease, Outgoing]] = []
        candidates = []
        for entry in pulled:
            try:
                candidates.append(self._read(entry, until))
            except (ValueError, TypeError, KeyError) as error:
                unreadable.append((entry, str(error)))
        now = time.time()
        due = [each for each in candidates if not self._postpone(each, now, waiting)]
        messages = self._complete(self._untaken(due, waiting, unreadable), unreadable)
        if unreadable:
            bury(self._session, self.queue, unreadable)
        if waiting:
            self._defer(waiting)
        return messages

    def _read(self, entry: Mapping[str, Any], until: float) -> _Candidate:
        lease = Lease.of(self.queue.queue_id, entry, until)
        message = envelope.decode(entry)
        lease.key = message["properties"]["message_id"]
        lease.object_key = large.key_of(message)
        lease.on_lost = functools.partial(self._lose, lease)
        return _Candidate(entry, message, lease)

    def _postpone(
        self, each: _Candidate, now: float, waiting: list[tuple[Lease, Outgoing]]
    ) -> bool:
        """Have a message wait that is not due; tell whether it is not."""
        due = delays.due_at(each.message)
        if not delays.is_early(due, now):
            return False
        try:
            text = self._session.large.renew(each.message, envelope.text_of(each.entry))
        except ObjectStoreError as error:
            self._read_again(each, error)
        else:
            waiting.append((each.lease, Outgoing(text, due)))
        return True

    def _untaken(
        self,
        candidates: list[_Candidate],
        waiting: list[tuple[Lease, Outgoing]],
        unreadable: list[tuple[Mapping[str, Any], str]],
    ) -> list[_Candidate]:
        """Return those that no other consumer has, by the ledger, where they came before.

        One that its consumers do not survive goes to the dead letters: Cloudflare does not count
        that far where a message is published anew past half of what its queue allows.
        """
        keeper = self._session.keeper
        if keeper is None:
            return candidates
        doubtful = [
            each
            for each in candidates
            if each.message["headers"]["x-delivery-count"] > 1 or each.message.get(envelope.HELD)
        ]
        if not doubtful:
            return candidates
        with ThreadPoolExecutor(min(ASKERS, len(doubtful)), "cloudflare-asker") as pool:
            answers = dict(zip(doubtful, pool.map(self._asker(keeper), doubtful), strict=True))
        free = []
        for each in candidates:
            wait = answers.get(each, 0.0)
            if isinstance(wait, Deadly):
                unreadable.append((each.entry, str(wait)))
            elif wait is None:
                self._session.settler.ack(each.lease)  # it is done
            elif wait:
                self._put_back(each, wait, waiting)
            else:
                free.append(each)
        return free

    def _asker(self, keeper: Keeper) -> Callable[[_Candidate], float | Deadly | None]:
        def ask(each: _Candidate) -> float | Deadly | None:
            try:
                return keeper.take(each.lease, self._allowed)
            except Deadly as error:
                return error
            except LedgerUnavailable as error:
                logger.warning("cloudflare: message %s waits: %s", each.lease.key, error)
                return AGAIN

        return ask

    def _put_back(
        self, each: _Candidate, wait: float, waiting: list[tuple[Lease, Outgoing]]
    ) -> None:
        """Have a message wait that another consumer has.

        Each delivery counts, and what was delivered too often is dropped. So past half of what the
        queue allows a message goes on as a new one, whose copy the ledger knows by its id.
        """
        if int(each.entry.get("attempts") or 1) <= self._allowed // 2:
            self._session.settler.retry(each.lease, math.ceil(wait))
            return
        text = envelope.mark_held(envelope.text_of(each.entry))
        waiting.append((each.lease, Outgoing(text, time.time() + math.ceil(wait))))

    def _complete(
        self, candidates: list[_Candidate], unreadable: list[tuple[Mapping[str, Any], str]]
    ) -> list[Message]:
        """Fetch what references stand for, and have each message's lease kept from now on."""
        references = [each for each in candidates if large.is_reference(each.message)]
        claims = [(each.entry, each.message) for each in references]
        read: dict[_Candidate, Message | Exception] = {}
        if claims:
            found = self._session.large.read_all(claims)
            read = dict(zip(references, found, strict=True))
        messages = []
        for each in candidates:
            message = read.get(each, each.message)
            if isinstance(message, ObjectStoreError) and not isinstance(message, ObjectMissing):
                self._read_again(each, message)
            elif isinstance(message, Exception):
                unreadable.append((each.entry, str(message)))
            else:
                messages.append({**message, "lease": each.lease})
                if self._session.keeper is not None:
                    self._session.keeper.track(each.lease)
        return messages

    def _read_again(self, each: _Candidate, error: ObjectStoreError) -> None:
        logger.warning(
            "cloudflare: message %s of queue %r waits to be read: %s",
            each.lease.key,
            self.name,
            error,
        )
        self._session.leases.retry(each.lease, AGAIN)

    def _defer(self, waiting: list[tuple[Lease, Outgoing]]) -> None:
        """Have messages wait on, as new ones, so that neither age nor attempts end them.

        The old ones are removed once the new ones are accepted: a crash in between leaves two
        of each, and loses none.
        """
        settler = self._session.settler
        try:
            self._session.publisher(self.name).publish([message for _, message in waiting])
        except CloudflareError as error:
            logger.warning("cloudflare: %d message(s) wait to be delayed: %s", len(waiting), error)
            for lease, _ in waiting:
                settler.retry(lease, AGAIN)
        else:
            for lease, _ in waiting:
                # Its object goes on with the new message, and so does its id.
                settler.ack(replace(lease, object_key=None, key=""))
