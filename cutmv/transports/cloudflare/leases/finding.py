"""Finds the lease ledger that a process uses where no option names one.

It is the first that is there: the edge Worker's, the Redis that keeps the worker's results, the
bucket of large messages, a bucket of its own in R2, the directory of large messages. Each is tried
by a read and a write. One that does not answer is there: other processes may be using it, and one
that took the next would run what they hold.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    ConfigurationError,
    LedgerRefused,
    LedgerUnavailable,
    NotFound,
    Refused,
)
from cutmv.transports.cloudflare.leases.edge_ledger import Ask, EdgeLedger
from cutmv.transports.cloudflare.leases.ledger import (
    Entry,
    Ledger,
    ObjectLedger,
    RedisLedger,
    open_ledger,
)
from cutmv.transports.cloudflare.leases.sought_ledger import SoughtLedger
from cutmv.transports.cloudflare.messages import bucket_if_there
from cutmv.transports.cloudflare.options import (
    AUTO_LEDGER,
    DEFAULT_API_BASE_URL,
    NO_LEDGER,
    Options,
)

logger = logging.getLogger(__name__)

#: The bucket of the ledger, behind the option `queue_name_prefix`.
BUCKET = "celery-leases"

#: Seconds to learn the API token's id.
TOKEN_TIMEOUT = 5.0

#: The key of the record by which a ledger is tried.
TRIAL_KEY = "trial"


@dataclass(frozen=True, slots=True)
class Sources:
    """What a process has of which a ledger can be made.

    Attributes:
        ask_edge: Makes a signed call to the edge Worker; none without a Worker.
        close_edge: Closes its connections.
        redis_of_results: Returns a client of the Redis that keeps the worker's results, or none.
        r2_keys: Returns the access key's id and the secret of an account's R2, or none.
        account_id: The account.
        prefix: The option `queue_name_prefix`.
        environ: The environment.
        large_messages: The option of this name: the URL of a store that all processes share.
    """

    ask_edge: Ask | None
    close_edge: Callable[[], None]
    redis_of_results: Callable[[], Any]
    r2_keys: Callable[[], tuple[str, str] | None]
    account_id: str
    prefix: str
    environ: Mapping[str, str]
    large_messages: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A ledger that is there, what people call it, and why it does not answer, if it doesn't."""

    name: str
    ledger: Ledger
    trouble: str | None = None


def bucket_name(prefix: str) -> str:
    """Return the bucket of the ledger of an app with this `queue_name_prefix`."""
    plain = re.sub(r"[^a-z0-9-]+", "-", prefix.lower()).strip("-")
    return f"{plain}-{BUCKET}"[-63:].lstrip("-") if plain else BUCKET


def token_keys(token_id: str, token: str) -> tuple[str, str]:
    """Return the S3 key that an API token stands for: its id, and the digest of its value."""
    return token_id, hashlib.sha256(token.encode()).hexdigest()


def token_keys_of(client: Client, options: Options) -> tuple[str, str] | None:
    """Return the key of R2 that a client's token stands for; none where no R2 is beside the API.

    None, too, for a token that may not ask for its id. Raises a `CloudflareError`.
    """
    elsewhere = options.api_base_url.rstrip("/") != DEFAULT_API_BASE_URL
    if elsewhere and not os.environ.get("R2_ENDPOINT_URL"):
        return None
    try:
        token_id = client.token_id(time.monotonic() + TOKEN_TIMEOUT)
    except (AccessDenied, NotFound, Refused):
        return None
    return token_keys(token_id, client.token)


def choose_ledger(
    options: Options,
    account_id: str,
    sources: Callable[[], Sources],
    on_refused: Callable[[str], object],
) -> Found | None:
    """Return the ledger that the option `lease_ledger` names, or find one; none where it is none.

    One that does not answer is told in one line. Raises `ConfigurationError` where the option's
    can't be one. See `find_ledger`.
    """
    url = options.lease_ledger
    if url == NO_LEDGER or (url == AUTO_LEDGER and not options.queue_max_retries):
        return None
    if url == AUTO_LEDGER:
        return find_ledger(sources(), on_refused)
    name = f"the option lease_ledger ({urlsplit(url).scheme})"
    found = Found(name, open_ledger(url, account_id))
    try:
        found.ledger.read(TRIAL_KEY)
    except LedgerRefused as error:
        raise ConfigurationError(f"cloudflare transport: {name} can't be used: {error}") from None
    except LedgerUnavailable as error:
        _warn_of_silent(name, error)
    return found


def find_ledger(
    sources: Sources,
    on_refused: Callable[[str], object] = lambda _: None,
    *,
    writes: bool = True,
) -> Found | None:
    """Return the first ledger that is there; none where there is none. Never raises.

    Without `writes` nothing is written: one that can be read is believed to be there.

    One that does not answer is told in one line. `on_refused` is called with a line where such a
    ledger, once it answers, turns out not to be there: then the process has to look again.
    """
    for name, opened in _candidates(sources):
        ledger = SoughtLedger(name, opened, on_refused)
        trouble = None
        try:
            record = ledger.read(TRIAL_KEY)
            if writes:
                ledger.write(TRIAL_KEY, Entry("", "free", 0.0), record.version if record else None)
        except LedgerRefused as error:
            logger.debug("cloudflare: no lease ledger in %s: %s", name, error)
            ledger.close()
            continue
        except LedgerUnavailable as error:
            trouble = str(error)
            _warn_of_silent(name, error)
        ledger.keep(heard=trouble is None)
        return Found(name, ledger, trouble)
    return None


def _warn_of_silent(name: str, error: LedgerUnavailable) -> None:
    """Tell that a ledger does not answer, and what that means."""
    logger.warning(
        "cloudflare: %s does not answer (%s). It is the lease ledger all the same: until it "
        "answers, messages that may have been delivered before wait, and others run. If there is "
        "none, set lease_ledger to another, or to none",
        name,
        error,
    )


def _candidates(sources: Sources) -> Iterator[tuple[str, Callable[[], Ledger | None]]]:
    ask = sources.ask_edge
    if ask is not None:
        yield "the edge Worker", lambda: EdgeLedger(ask, sources.close_edge)
    yield "the result backend's Redis", lambda: _in_redis(sources.redis_of_results())
    store = sources.large_messages
    of_messages = (
        "the store of large messages",
        lambda: open_ledger(store, sources.account_id, sources.environ),
    )
    if urlsplit(store).scheme == "r2":
        yield of_messages
    bucket = bucket_name(sources.prefix)
    yield f"the R2 bucket {bucket}", lambda: _in_r2(bucket, sources)
    if urlsplit(store).scheme == "file":  # after what workers of all machines share
        yield of_messages


def _in_redis(client: Any) -> Ledger | None:
    return None if client is None else RedisLedger(client)


def _in_r2(bucket: str, sources: Sources) -> Ledger | None:
    objects = bucket_if_there(bucket, sources.account_id, sources.r2_keys, sources.environ)
    return None if objects is None else ObjectLedger(objects)
