"""Checks of the Cloudflare account: the token, and the queues as `provision` plans them."""

import time
from collections.abc import Iterator
from dataclasses import replace

from kombu.exceptions import KombuError

from cutmv.config import Settings
from cutmv.ops.checks.planned import finding_of
from cutmv.ops.deployment import client_of
from cutmv.ops.finding import Finding, ok, problem, skipped, warning
from cutmv.ops.notification_plan import plan_notifications
from cutmv.ops.queue_plan import QueuePlanner
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import AccessDenied, CloudflareError, Refused
from cutmv.transports.cloudflare.options import Options

#: Seconds that a call may take; a slower API is of no use to a worker either.
CALL_TIMEOUT_S = 5.0
#: A name that no queue can have: a request to create it shows the permission and creates nothing.
IMPOSSIBLE_NAME = "-"


def queues(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """Whether the token is valid, what it may do, and whether the queues are as planned."""
    if options is None:
        yield skipped("API token", "no Cloudflare account is used")
        return
    client = client_of(settings, replace(options, request_timeout=CALL_TIMEOUT_S))
    try:
        try:
            # The first page is enough to tell.
            next(client.list_queues(time.monotonic() + CALL_TIMEOUT_S, retried=False), None)
        except AccessDenied as error:
            found = "is refused" if error.status == 401 else "may not list this account's queues"
            advice = (
                "set CLOUDFLARE_API_TOKEN to a token of account CLOUDFLARE_ACCOUNT_ID with the"
                " permission Queues: Edit"
            )
            yield problem("API token", found, advice)
            return
        except CloudflareError as error:
            yield problem("API token", str(error), "check the network, and cloudflarestatus.com")
            return
        yield ok("API token", f"opens account {settings.account_id}")
        yield _may_write(client)
        try:
            for item in QueuePlanner(client, options, settings.queue_names).plan():
                yield finding_of(item)
            for item in plan_notifications(client, options, settings):
                yield finding_of(item)
        except KombuError as error:
            yield problem("queues", str(error), "run `cutmv doctor` again in a minute")
    finally:
        client.close()


def _may_write(client: Client) -> Finding:
    what = "API token's permission"
    try:
        client.create_queue(IMPOSSIBLE_NAME, time.monotonic() + CALL_TIMEOUT_S)
    except Refused:
        return ok(what, "may edit queues")
    except AccessDenied:
        return problem(what, "may not edit queues", "give the token the permission Queues: Edit")
    except CloudflareError as error:
        return warning(what, str(error), "run `cutmv doctor` again in a minute")
    return warning(what, f"a queue named {IMPOSSIBLE_NAME!r} was made", "delete it, and report it")
