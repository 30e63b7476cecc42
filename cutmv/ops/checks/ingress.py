"""Checks of push mode: whether the edge Worker reaches the workers' push servers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from cutmv.config import Settings
from cutmv.ops.deployment import client_of
from cutmv.ops.finding import Finding, ok, problem, warning
from cutmv.transports.cloudflare.admin import deadline
from cutmv.transports.cloudflare.edge import signature
from cutmv.transports.cloudflare.errors import CloudflareError
from cutmv.transports.cloudflare.options import Options

#: Seconds for the Worker to try all push servers of a queue; it waits ten for each, side by side.
CHECK_TIMEOUT_S = 12.0

DEPLOY_ADVICE = "deploy edge/ anew: cd edge && npm ci && npm run deploy"


def ingress(settings: Settings, options: Options, http: httpx.Client) -> Iterator[Finding]:
    """Whether the Worker reaches a worker for each queue that it pushes, and lets all be busy."""
    if options.consume != "push":
        return
    for queue in filter(options.pushes, settings.queue_names):
        what = f"edge Worker's way to the workers of {queue}"
        body = json.dumps({"queue": queue}).encode()
        headers = {
            "content-type": "application/json",
            **signature.headers(options.edge_keys, body),
        }
        try:
            answer = http.post(
                "/v1/ingress/check", content=body, headers=headers, timeout=CHECK_TIMEOUT_S
            )
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            yield problem(what, f"no answer: {type(error).__name__}", "run `cutmv doctor` again")
            continue
        if answer.status_code != 200:
            said = str(document.get("detail", f"HTTP {answer.status_code}"))
            yield problem(what, said, f"set INGRESS_URL in wrangler.toml, and {DEPLOY_ADVICE}")
            continue
        servers: list[Mapping[str, Any]] = document["push_servers"]
        for server in servers:
            yield _reached(what, server)
        yield from _concurrency(settings, options, queue, servers)


def _reached(what: str, server: Mapping[str, Any]) -> Finding:
    url, status = server["url"], server["status"]
    match status:
        case 200:
            slots = f", {server['slots']} tasks at once" if "slots" in server else ""
            return ok(what, f"a worker answers at {url}{slots}")
        case 401:
            advice = "set CLOUDFLARE_EDGE_KEYS of the workers to the Worker's EDGE_KEYS"
            return problem(what, f"{url}: {server.get('detail', 'refused')}", advice)
        case 503:
            return problem(what, f"{url}: {server.get('detail', 'no worker')}", "start a worker")
        case None:
            found = f"it does not reach {url} ({server.get('detail', 'no answer')})"
        case _:
            found = f"{url} answers HTTP {status}, and is no push server"
    return problem(
        what,
        found,
        "start a worker, and see that INGRESS_URL in wrangler.toml leads to its"
        " CLOUDFLARE_INGRESS_PORT, by a tunnel or a proxy (docs/deploy.md)",
    )


def _concurrency(
    settings: Settings, options: Options, queue: str, servers: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Whether Cloudflare delivers as many messages at once as the workers that answer can run."""
    slots = sum(int(server.get("slots") or 0) for server in servers)
    client = client_of(settings, options)
    try:
        found = next(
            (each for each in client.list_queues(deadline()) if each["queue_name"] == queue), None
        )
        consumers = client.list_consumers(found["queue_id"], deadline()) if found else []
    except CloudflareError:
        return  # the account's own checks say so
    finally:
        client.close()
    for consumer in consumers:
        most = (consumer.get("settings") or {}).get("max_concurrency")
        if most is not None and most < slots:
            yield warning(
                f"max_concurrency of {queue}",
                f"Cloudflare pushes {most} messages at once, and the workers can run {slots}",
                "leave max_concurrency out of wrangler.toml, and deploy: what has no room waits"
                " in the workers",
            )
