"""A client of the Queues REST API: a pool of connections, errors, and retries.

`Client` speaks HTTP through `httpx.HTTPTransport`, the layer below `httpx.Client`: the latter
logs each request's address at INFO, which would be a line for each poll. It uses HTTP/1.1 with
keep-alive, not HTTP/2, whose header compression logs the token at DEBUG.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import httpx

from cutmv.transports.cloudflare.api import operations, responses
from cutmv.transports.cloudflare.api.credentials import VERIFY_USER, Credentials
from cutmv.transports.cloudflare.api.failures import envelope
from cutmv.transports.cloudflare.api.habits import DelayLimit, PullHabits
from cutmv.transports.cloudflare.api.http import address_of, dump, exchange, proxy_of
from cutmv.transports.cloudflare.api.listing import QueuePage, walk
from cutmv.transports.cloudflare.api.published import published, text_messages
from cutmv.transports.cloudflare.api.rate_limit import RateLimiter
from cutmv.transports.cloudflare.api.responses import Backlog, Pulled
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    Conflict,
    NotFound,
    Refused,
)
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.runtime import full_jitter

#: Seconds to open a TCP and TLS connection at most.
CONNECT_TIMEOUT = 3.0

#: Connections open at once at most; each poller uses one, publishers share the rest.
MAX_CONNECTIONS = 64

#: Seconds an unused connection is kept.
KEEPALIVE = 60.0

#: Queues in a page of the list, if the server makes pages as long.
PAGE_SIZE = 100

T = TypeVar("T")


class Client:
    """Calls the Queues API of one account. Threads share it; its owner closes it.

    Every method takes `deadline`, a `time.monotonic` instant after which it gives up, and raises a
    subclass of `errors.CloudflareError`. After an error that passes, a call is retried until then,
    except `pull` and `end_leases`, whose callers retry by themselves.
    """

    def __init__(self, credentials: Credentials, options: Options) -> None:
        self._root = options.api_base_url.rstrip("/")
        self._base = f"{self._root}/accounts/{quote(credentials.account_id)}"
        self._account = credentials.account_id
        self._credentials = credentials
        self.token = credentials.token  # the one that calls are made with by now
        self._timeout = options.request_timeout
        reserve = int(options.rate_limit * options.rate_reserve)
        self.rate_limiter = RateLimiter(
            max(1, int((options.rate_limit - reserve) * options.rate_share))
            if options.rate_limit
            else 0,
            options.rate_window,
            reserve,
        )
        self._http = httpx.HTTPTransport(
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=KEEPALIVE,
            ),
            proxy=proxy_of(self._base),
        )
        self._searches = True  # whether the server finds a queue by its name, as far as is known
        self.habits = PullHabits()
        self._delays = DelayLimit()
        #: When a call last succeeded and last failed, by `time.monotonic`; 0: never.
        self.succeeded_at = self.failed_at = 0.0

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    # Queues.

    def list_queues(self, deadline: float, retried: bool = True) -> Iterator[dict[str, Any]]:
        """Return every queue of the account, page by page.

        Without `retried` each page's call is made once. Raises `AccessDenied` where the token does
        not know the account.
        """

        def read(number: int) -> QueuePage:
            path = f"/queues?{urlencode({'page': number, 'per_page': PAGE_SIZE})}"
            try:
                return self.call("GET", path, responses.queues, deadline, retried=retried)
            except (NotFound, Refused) as error:
                raise AccessDenied(
                    f"Cloudflare knows no account {self._account!r} for this token ({error}): "
                    "check CLOUDFLARE_ACCOUNT_ID or the URL, and CLOUDFLARE_API_BASE_URL if set",
                    cause=error,
                ) from None

        return walk(read)

    def named_queues(self, queue_name: str, deadline: float) -> list[dict[str, Any]] | None:
        """Return the queue of this name, if there is one, in a list.

        Returns none where the server does not search by name: only the whole list tells.
        """
        if not self._searches:
            return None
        path = f"/queues?{urlencode({'name': queue_name, 'per_page': PAGE_SIZE})}"
        try:
            found = self.call("GET", path, responses.queues, deadline).queues
        except (NotFound, Refused):
            self._searches = False
            return None
        named = [queue for queue in found if queue["queue_name"] == queue_name]
        if found and not named:
            self._searches = False
            return None
        return named

    def create_queue(self, queue_name: str, deadline: float) -> dict[str, Any]:
        """Create a queue and return it; raises `Conflict` at once, since there may be one."""
        body = {"queue_name": queue_name}
        return self.call("POST", "/queues", responses.queue, deadline, body, creates=True)

    def change(self, queue_id: str, settings: Mapping[str, Any], deadline: float) -> None:
        """Change some of a queue's settings, by Cloudflare's names; the others stay."""
        body = {"settings": settings}
        self.call("PATCH", f"/queues/{queue_id}", responses.nothing, deadline, body)

    def delete_queue(self, queue_id: str, deadline: float) -> None:
        """Delete a queue with all its messages."""
        self.call("DELETE", f"/queues/{queue_id}", responses.nothing, deadline)

    def list_consumers(self, queue_id: str, deadline: float) -> list[dict[str, Any]]:
        """Return a queue's consumers."""
        return self.call("GET", f"/queues/{queue_id}/consumers", responses.consumers, deadline)

    def create_consumer(
        self, queue_id: str, consumer: Mapping[str, Any], deadline: float
    ) -> str | None:
        """Add a consumer, as `create_queue` does; return its id, if the response says so."""
        path = f"/queues/{queue_id}/consumers"
        return self.call("POST", path, responses.consumer_id, deadline, consumer, creates=True)

    def delete_consumer(self, queue_id: str, consumer_id: str, deadline: float) -> None:
        """Remove a consumer from a queue, whose messages stay."""
        path = f"/queues/{queue_id}/consumers/{quote(consumer_id, safe='')}"
        self.call("DELETE", path, responses.nothing, deadline)

    def update_consumer(
        self, queue_id: str, consumer_id: str, consumer: Mapping[str, Any], deadline: float
    ) -> None:
        """Overwrite a consumer: settings that are not named go back to their defaults."""
        path = f"/queues/{queue_id}/consumers/{quote(consumer_id, safe='')}"
        self.call("PUT", path, responses.nothing, deadline, consumer)

    def purge(self, queue_id: str, deadline: float) -> None:
        """Start the removal of all of a queue's messages."""
        body = {"delete_messages_permanently": True}
        self.call("POST", f"/queues/{queue_id}/purge", responses.nothing, deadline, body)

    def backlog(self, queue_id: str, deadline: float) -> Backlog:
        """Return roughly how much a queue holds, leased and delayed messages included."""
        return self.call("GET", f"/queues/{queue_id}/metrics", responses.backlog, deadline)

    def token_id(self, deadline: float) -> str:
        """Return the id of the API token, a user's or an account's own."""
        try:
            return self.call("GET", VERIFY_USER, responses.token_id, deadline)
        except (AccessDenied, NotFound, Refused):
            return self.call("GET", "/tokens/verify", responses.token_id, deadline)

    # Messages.

    def publish(
        self,
        queue_id: str,
        texts: Sequence[tuple[str, int | None]],
        deadline: float,
        *,
        paid: bool = False,
    ) -> Backlog | None:
        """Publish up to 100 messages, of 256 KB together, to a queue: all of them or none.

        Each is its text and its delay in seconds (0 to 43,200; none: the queue's own), which is
        made as short as Cloudflare wants it. `paid` tells that the caller has taken the call from
        the rate limiter. Returns what the queue holds then, if the response says so.
        """

        def put(most: float) -> Backlog | None:
            return self.put(queue_id, text_messages(texts, most), deadline, paid=paid)

        return self._delays.keep(put, max((delay or 0 for _, delay in texts), default=0))

    def put(
        self,
        queue_id: str,
        messages: Sequence[Mapping[str, Any]],
        deadline: float,
        *,
        paid: bool = False,
    ) -> Backlog | None:
        """Publish messages like `publish`, each in the form in which the API takes it."""
        path = f"/queues/{queue_id}/messages/batch"
        body = {"messages": messages}
        return self.call("POST", path, published, deadline, body, paid=paid)

    def pull(self, queue_id: str, count: int, visibility_timeout: float, deadline: float) -> Pulled:
        """Lease up to `count` (1 to 100) messages for `visibility_timeout` seconds.

        Not retried: the messages of a lost response come back when their lease ends. So do
        malformed messages of a response, which are logged.
        """
        body = {"batch_size": count, "visibility_timeout_ms": int(visibility_timeout * 1000)}
        path = f"/queues/{queue_id}/messages/pull"
        answer = self.call(
            "POST", path, responses.pulled, deadline, body, metered=False, retried=False
        )
        self.habits.learn(answer)
        return answer

    def end_leases(
        self,
        queue_id: str,
        acks: Sequence[str],
        retries: Sequence[tuple[str, float]],
        deadline: float,
    ) -> dict[str, str]:
        """End leases: `acks` remove their messages, `retries` return theirs after a delay (s).

        Returns Cloudflare's warnings by lease id. Not retried: the `Acknowledger` does that.
        """
        path = f"/queues/{queue_id}/messages/ack"

        def end(most: float) -> dict[str, str]:
            delays = [(lease, min(round(delay), most)) for lease, delay in retries]
            body = {
                "acks": [{"lease_id": lease} for lease in acks],
                "retries": [{"lease_id": id_, "delay_seconds": delay} for id_, delay in delays],
            }
            return self.call(
                "POST", path, responses.warnings, deadline, body, metered=False, retried=False
            )

        return self._delays.keep(end, max((delay for _, delay in retries), default=0))

    def peek(self, queue_id: str, count: int, deadline: float) -> list[dict[str, Any]]:
        """Return up to `count` (1 to 100) waiting messages, without a lease on them.

        Each has a ``ref`` in place of a lease. Leased and delayed messages are not shown.
        """
        path = f"/queues/{queue_id}/messages/peek"
        return self.call("POST", path, responses.peeked, deadline, {"batch_size": count})

    def remove(
        self, queue_id: str, refs: Sequence[str], deadline: float, *, retried: bool = True
    ) -> dict[str, str]:
        """Remove messages by the ``ref`` that `peek` gave; return Cloudflare's warnings by ref."""
        body = {"refs": [{"ref": ref} for ref in refs]}
        path = f"/queues/{queue_id}/messages/purge"
        return self.call("POST", path, responses.warnings, deadline, body, retried=retried)

    # One call.

    def call(
        self,
        method: str,
        path: str,
        read: Callable[[dict[str, Any]], T],
        deadline: float,
        body: Mapping[str, Any] | None = None,
        *,
        metered: bool = True,
        retried: bool = True,
        paid: bool = False,
        creates: bool = False,
    ) -> T:
        """Make a call and return what `read` returns for its response.

        `metered` calls wait for the rate limiter, unless the caller has `paid` for the first
        attempt; `retried` calls are made again until `deadline`. One that `creates` something is
        not made again after a `Conflict`.
        """
        content = b"" if body is None else dump(body)
        attempt = 0
        while True:
            if metered and not (paid and attempt == 0):
                self.rate_limiter.take(deadline)
            try:
                answer = read(self._exchange(method, path, content, deadline))
            except CloudflareError as error:
                self.failed_at = time.monotonic()
                pause = full_jitter(attempt)
                if error.retry_after is not None:
                    pause += error.retry_after
                    if metered:
                        self.rate_limiter.close_for(error.retry_after)
                again = retried and error.passing and not (creates and isinstance(error, Conflict))
                if not again or time.monotonic() + pause >= deadline:
                    raise
            else:
                self.succeeded_at = time.monotonic()
                operations.note(path, body, answer)
                return answer
            time.sleep(pause)
            attempt += 1

    def _exchange(self, method: str, path: str, content: bytes, deadline: float) -> dict[str, Any]:
        """Send one request and return its response's JSON document.

        Where the token is refused, and its file has another one by now, the request is sent again.
        """
        timeout = max(0.05, min(self._timeout, deadline - time.monotonic()))
        connect = min(timeout, CONNECT_TIMEOUT)
        limits = {"connect": connect, "pool": timeout, "read": timeout, "write": timeout}
        whom = f"Cloudflare's API at {address_of(self._base)}"

        def send(token: str) -> httpx.Response:
            headers = {
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "User-Agent": "cutmv-transport",
            }
            url = (self._root if path == VERIFY_USER else self._base) + path
            request = httpx.Request(
                method, url, headers=headers, content=content, extensions={"timeout": limits}
            )
            return exchange(self._http, request, whom)

        token = self.token
        response = send(token)
        if response.status_code in (401, 403):
            self.token = self._credentials.newest_token()
            if self.token != token:
                response = send(self.token)
        self.rate_limiter.learn(response.headers)
        return envelope(response, self._account)
