"""The check that asks the workers how their threads are, and which lease ledger they use."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError

from cutmv.config import Settings, celery_config
from cutmv.ops.deployment import client_of
from cutmv.ops.finding import Finding, ok, problem, skipped, warning
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import TemporaryBinding

WHAT = "workers' threads"
#: Seconds that the workers have to answer, and that the list of queues may take.
ANSWER_S, LIST_S = 3.0, 5.0


def threads(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """Whether workers' threads met errors that nobody expected, and whether their ledgers agree."""
    if options is None:
        yield skipped(WHAT, "no Cloudflare account is used")
        return
    try:
        answers = _ask(settings) if _may_answer(settings, options) else {}
    except KombuError as error:
        yield skipped(WHAT, f"the workers can't be asked: {error}")
        return
    yield from findings_of(answers)


def findings_of(answers: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """The findings about what workers told by `inspect stats`, by the worker's name."""
    if not answers:
        yield skipped(WHAT, "no worker answers")
        return
    well = 0
    for name, told in sorted(answers.items()):
        report = told.get("cloudflare", {}).get("threads", {})
        unwell = {
            thread: trouble
            for thread, trouble in report.get("troubled", {}).items()
            if not trouble["well"]
        }
        well += not unwell
        for thread, trouble in sorted(unwell.items()):
            found = f"{thread} of {name} met {trouble['errors']} error(s): {trouble['last_error']}"
            advice = "read that worker's log; if this goes on, restart it, and report the error"
            yield warning(WHAT, found, advice)
    if well:
        yield ok(WHAT, f"{well} worker(s) answer whose threads are well")
    yield from _ledgers(answers)


def _ledgers(answers: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Whether the workers that answer use one lease ledger."""
    users: dict[str, list[str]] = {}
    for name, told in sorted(answers.items()):
        leases = told.get("cloudflare", {}).get("leases")
        if leases and leases.get("seconds"):  # else it has not pulled yet
            users.setdefault(leases.get("ledger") or "none", []).append(name)
    used = "; ".join(f"{ledger}: {', '.join(names)}" for ledger, names in users.items())
    if len(users) > 1:
        found = f"they differ, so that what one holds may run on another as well ({used})"
        advice = "give all of them the same variables and the same version, and restart them"
        yield problem("workers' lease ledger", found, advice)
    elif users:
        yield ok("workers' lease ledger", used)


def _may_answer(settings: Settings, options: Options) -> bool:
    """Return whether any process listens: by the hub, or by a temporary queue of the account."""
    if options.edge_url:
        return True
    client = client_of(settings, options)
    try:
        queues = client.list_queues(time.monotonic() + LIST_S, retried=False)
        return any(TemporaryBinding.read(queue["queue_name"]) for queue in queues)
    finally:
        client.close()


def _ask(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    with Celery("doctor", set_as_current=False) as app:
        app.conf.update(celery_config(settings))
        return app.control.inspect(timeout=ANSWER_S).stats() or {}
