"""The check of the lease ledger."""

import os
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

from kombu.exceptions import KombuError

from cutmv.config import Settings
from cutmv.ops.deployment import client_of
from cutmv.ops.finding import Finding, ok, problem, skipped, warning
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.edge import EdgeClient
from cutmv.transports.cloudflare.errors import LedgerUnavailable
from cutmv.transports.cloudflare.leases import (
    Sources,
    bucket_name,
    find_ledger,
    open_ledger,
    token_keys_of,
    without_ledger,
)
from cutmv.transports.cloudflare.options import (
    AUTO_LEDGER,
    NO_LEDGER,
    VISIBILITY_TIMEOUT,
    Options,
)

#: What a ledger does, by the seconds of a lease.
_KEPT = (
    "it extends leases of {0:.0f} s, so that a long task runs once, and what a crashed worker held"
    " runs elsewhere within {1:.0f} minutes"
)


def ledger(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """Which lease ledger the workers use, and whether it answers."""
    what = "lease ledger"
    if options is None or not settings.account_id:
        yield skipped(what, "no Cloudflare account is used")
        return
    url = options.lease_ledger
    lease_s = options.visibility_timeout or VISIBILITY_TIMEOUT
    kept = _KEPT.format(lease_s, 2 * lease_s / 60)
    if url == AUTO_LEDGER:
        with closing(client_of(settings, options)) as client:
            found = find_ledger(_sources(settings, options, client), writes=False)
        if found is not None:
            found.ledger.close()
            if found.trouble is None:
                yield ok(what, f"{found.name}: {kept}")
            else:
                yield problem(
                    what,
                    f"{found.name} does not answer: {found.trouble}",
                    "mend it, or set lease_ledger to another: until it answers, messages that may"
                    " have been delivered before wait",
                )
            return
        url = NO_LEDGER
    if url == NO_LEDGER:
        bucket = bucket_name(options.queue_name_prefix)
        yield warning(
            what,
            f"none: leases are {without_ledger(None) / 60:.0f} minutes long, or as long as tasks"
            " may take, and what a crashed worker held runs elsewhere only after one",
            "deploy the edge Worker, use a result backend in Redis, or make the R2 bucket"
            f" {bucket}: `cutmv provision` makes it, with an API token that may edit R2",
        )
        return
    scheme = urlsplit(url).scheme  # the rest of the URL may hold a password
    if scheme == "file":
        yield ok(what, f"a directory of this machine: {kept}, on this machine")
        return
    where = {"r2": "an R2 bucket"}.get(scheme, "Redis")
    try:
        with closing(open_ledger(url, settings.account_id)) as opened:
            opened.read("doctor")
    except (KombuError, LedgerUnavailable) as error:
        yield problem(what, f"{where}: {error}", "correct what lease_ledger names: workers need it")
    else:
        yield ok(what, f"{where}: {kept}")


def _sources(settings: Settings, options: Options, client: Client) -> Sources:
    edge = EdgeClient(options.edge_url, options.edge_keys, "") if options.edge_url else None
    return Sources(
        ask_edge=edge.ask if edge else None,
        close_edge=edge.close if edge else lambda: None,
        redis_of_results=lambda: None,  # a worker's alone
        r2_keys=lambda: token_keys_of(client, options),
        account_id=settings.account_id or "",
        prefix=options.queue_name_prefix,
        environ=os.environ,
        large_messages=options.large_messages,
    )
