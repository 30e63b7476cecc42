"""Finds the lease ledger that a process uses where no option names one.

It is the first that is there: the edge Worker's, the Redis that keeps the worker's results, a
bucket of R2. Each that is there is tried once, by a read and a write.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare.errors import LedgerUnavailable, NotFound
from cutmv.transports.cloudflare.leases.edge_ledger import Ask, EdgeLedger
from cutmv.transports.cloudflare.leases.ledger import Entry, Ledger, ObjectLedger, RedisLedger
from cutmv.transports.cloudflare.messages import bucket_if_there
from cutmv.transports.cloudflare.runtime import shown

logger = logging.getLogger(__name__)

#: The bucket of the ledger, behind the option `queue_name_prefix`.
BUCKET = "celery-leases"

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
    """

    ask_edge: Ask | None
    close_edge: Callable[[], None]
    redis_of_results: Callable[[], Any]
    r2_keys: Callable[[], tuple[str, str] | None]
    account_id: str
    prefix: str
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A ledger that answers, and what people call it."""

    name: str
    ledger: Ledger


def bucket_name(prefix: str) -> str:
    """Return the bucket of the ledger of an app with this `queue_name_prefix`."""
    plain = re.sub(r"[^a-z0-9-]+", "-", prefix.lower()).strip("-")
    return f"{plain}-{BUCKET}"[-63:].lstrip("-") if plain else BUCKET


def token_keys(token_id: str, token: str) -> tuple[str, str]:
    """Return the S3 key that an API token stands for: its id, and the digest of its value."""
    return token_id, hashlib.sha256(token.encode()).hexdigest()


def find_ledger(sources: Sources) -> Found | None:
    """Return the first ledger that answers; none where there is none.

    Never raises. What is there and does not answer is told in one line.
    """
    for name, opened in _candidates(sources):
        ledger: Ledger | None = None
        try:
            ledger = opened()
            if ledger is None:
                continue
            record = ledger.read(TRIAL_KEY)
            ledger.write(TRIAL_KEY, Entry("", "free", 0.0), record.version if record else None)
        except Exception as error:  # of whatever kind: a worker starts without a ledger, too
            absent = isinstance(error, LedgerUnavailable) and isinstance(error.__cause__, NotFound)
            level = logging.DEBUG if absent else logging.WARNING
            logger.log(level, "cloudflare: no lease ledger in %s: %s", name, shown(error))
            if ledger is not None:
                with contextlib.suppress(Exception):
                    ledger.close()
        else:
            return Found(name, ledger)
    return None


def _candidates(sources: Sources) -> Iterator[tuple[str, Callable[[], Ledger | None]]]:
    ask = sources.ask_edge
    if ask is not None:
        yield "the edge Worker", lambda: EdgeLedger(ask, sources.close_edge)
    yield "the result backend's Redis", lambda: _in_redis(sources.redis_of_results())
    bucket = bucket_name(sources.prefix)
    yield f"the R2 bucket {bucket}", lambda: _in_r2(bucket, sources)


def _in_redis(client: Any) -> Ledger | None:
    return None if client is None else RedisLedger(client)


def _in_r2(bucket: str, sources: Sources) -> Ledger | None:
    objects = bucket_if_there(bucket, sources.account_id, sources.r2_keys, sources.environ)
    return None if objects is None else ObjectLedger(objects)
