"""The check of the lease ledger."""

import os
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

from kombu.exceptions import KombuError

from cutmv.config import Settings
from cutmv.ops.finding import Finding, ok, problem, skipped, warning
from cutmv.transports.cloudflare.edge import EdgeClient
from cutmv.transports.cloudflare.errors import LedgerUnavailable
from cutmv.transports.cloudflare.leases import Sources, bucket_name, find_ledger, open_ledger
from cutmv.transports.cloudflare.options import AUTO_LEDGER, NO_LEDGER, Options


def ledger(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """Which lease ledger the workers use, and whether it answers."""
    what = "lease ledger"
    if options is None or not settings.account_id:
        yield skipped(what, "no Cloudflare account is used")
        return
    url = options.lease_ledger
    kept = "a long task runs once, and what a crashed worker held runs elsewhere within ten minutes"
    if url == AUTO_LEDGER:
        found = find_ledger(_ledger_sources(settings, options))
        if found is not None:
            found.ledger.close()
            yield ok(what, f"{found.name}: {kept}")
            return
        url = NO_LEDGER
    if url == NO_LEDGER:
        bucket = bucket_name(options.queue_name_prefix)
        yield warning(
            what,
            "none: what a crashed worker held runs elsewhere after an hour",
            "deploy the edge Worker, use a result backend in Redis, or make the R2 bucket:"
            f" npx wrangler r2 bucket create {bucket}",
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


def _ledger_sources(settings: Settings, options: Options) -> Sources:
    client = EdgeClient(options.edge_url, options.edge_keys, "") if options.edge_url else None
    return Sources(
        ask_edge=client.ask if client else None,
        close_edge=client.close if client else lambda: None,
        redis_of_results=lambda: None,
        r2_keys=lambda: None,
        account_id=settings.account_id or "",
        prefix=options.queue_name_prefix,
        environ=os.environ,
    )
