"""Who may give messages to a push server: bounds on what strangers send, and the signature.

A request is refused by its headers, before any of its body is read, where it is not signed, not
fresh, or too large. Whoever knows no key may then send a body; but a slow one is ended, and all
such bodies together fill no memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping

from cutmv.transports.cloudflare.edge.signature import (
    Claim,
    Purpose,
    Rejected,
    SeenIds,
)
from cutmv.transports.cloudflare.errors import LedgerUnavailable

#: What a batch is signed for.
DELIVERIES = Purpose("push server", "POST", "/v1/deliveries")

#: What the question is signed for whether the worker has tasks.
ACTIVITY = Purpose("push server", "GET", "/v1/activity")

#: Bytes of a batch at most: 256 KB of messages, most of whose characters are escaped.
MAX_BODY = 2_000_000

#: Bytes of all batches whose senders are not verified yet.
MAX_UNVERIFIED = 16 * MAX_BODY

#: Bytes a second in which a batch arrives at least, and seconds until that counts.
MIN_RATE, RATE_GRACE = 250_000, 2.0

#: Seconds until the Worker tries again where too much is being received, and where the ledger does
#: not answer, as a header's text.
RETRY_CROWDED, RETRY_LEDGER = "1", "5"


class Gate:
    """Admits signed batches, each once. `keys` are the Worker's; see `PushServer` for `accept`."""

    def __init__(self, keys: str, accept: Callable[[str], bool]) -> None:
        self._keys, self._accept = keys, accept
        self._seen = SeenIds()
        self._began = int(time.time())  # as timestamps have it
        self._unverified = 0  # bytes

    async def admit(self, headers: Mapping[str, str], stream: AsyncIterator[bytes]) -> bytes:
        """Return the body of a signed request. Raises `Rejected`."""
        claim = Claim.read(headers)
        body = await self._received(_announced(headers), stream)
        claim.verify(self._keys, DELIVERIES, body)
        await self._use_up(claim)
        return body

    def answer(self, headers: Mapping[str, str]) -> None:
        """Have a signed question answered, as often as it comes. Raises `Rejected`."""
        Claim.read(headers).verify(self._keys, ACTIVITY, b"")

    async def _received(self, announced: int, stream: AsyncIterator[bytes]) -> bytes:
        """Return a body; raises `Rejected` where it is too large, or comes too slowly."""
        chunks: list[bytes] = []
        size, seconds = 0, RATE_GRACE + announced / MIN_RATE
        try:
            async with asyncio.timeout(seconds):
                async for chunk in stream:
                    chunks.append(chunk)
                    size += len(chunk)
                    self._unverified += len(chunk)
                    if size > announced:
                        raise _too_large()
                    if self._unverified > MAX_UNVERIFIED:
                        told = {"retry-after": RETRY_CROWDED}
                        raise Rejected(503, "Too much is being received.", told)
        except TimeoutError:
            raise Rejected(408, f"No whole batch in {seconds:.0f} s.") from None
        finally:
            self._unverified -= size
        return b"".join(chunks)

    async def _use_up(self, claim: Claim) -> None:
        """Raise `Rejected` where a request was accepted before, here or elsewhere."""
        # Where there is no ledger, nobody knows what a process took that ran here before this one.
        fresh = claim.timestamp >= self._began
        if fresh and self._seen.add(claim.request_id, claim.timestamp, time.time()):
            try:
                if await asyncio.to_thread(self._accept, claim.request_id):
                    return
            except LedgerUnavailable as error:
                told = {"retry-after": RETRY_LEDGER}
                raise Rejected(503, f"Whether it came before is not known: {error}", told) from None
        raise Rejected(409, "This request was received before.")


def _announced(headers: Mapping[str, str]) -> int:
    """Return the bytes that a body may have: as many as its headers say, if they do."""
    length = int(headers.get("content-length", MAX_BODY))  # the server has checked that it is one
    if length > MAX_BODY:
        raise _too_large()
    return length


def _too_large() -> Rejected:
    return Rejected(413, f"The batch is over {MAX_BODY} bytes.")
