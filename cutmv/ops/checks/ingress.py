"""Checks of push mode: whether the edge Worker reaches the workers' push servers."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from cutmv.config import Settings
from cutmv.ops.finding import Finding, ok, problem
from cutmv.transports.cloudflare.edge import signature, to_edge
from cutmv.transports.cloudflare.options import Options

#: The Worker's route that tries push servers.
CHECK_PATH = "/v1/ingress/check"

#: Seconds for the Worker to try all push servers of a queue; it waits ten for each, side by side.
CHECK_TIMEOUT_S = 12.0

#: What the Worker calls the containers that it starts, where others have an address.
CONTAINER = "container"

DEPLOY_ADVICE = "deploy edge/ anew: cd edge && npm ci && npm run deploy"


def ingress(settings: Settings, options: Options, http: httpx.Client) -> Iterator[Finding]:
    """Whether the Worker reaches a worker for each queue that it pushes."""
    if options.consume != "push":
        return
    for queue in filter(options.pushes, settings.queue_names):
        what = f"edge Worker's way to the workers of {queue}"
        body = json.dumps({"queue": queue}).encode()
        headers = {
            "content-type": "application/json",
            **signature.headers(options.edge_keys, to_edge("POST", CHECK_PATH), body),
        }
        try:
            answer = http.post(CHECK_PATH, content=body, headers=headers, timeout=CHECK_TIMEOUT_S)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            yield problem(what, f"no answer: {type(error).__name__}", "run `cutmv doctor` again")
            continue
        if answer.status_code != 200:
            said = str(document.get("detail", f"HTTP {answer.status_code}"))
            yield problem(what, said, f"set INGRESS_URL in wrangler.toml, and {DEPLOY_ADVICE}")
            continue
        for server in document["push_servers"]:
            yield _reached(what, server)


def _reached(what: str, server: Mapping[str, Any]) -> Finding:
    url, status = server["url"], server["status"]
    match status:
        case 200:
            slots = f", {server['slots']} tasks at once" if "slots" in server else ""
            return ok(what, f"a worker answers at {url}{slots}")
        case _ if url == CONTAINER and status not in (401, 503):
            found = f"no container took it ({server.get('detail') or f'HTTP {status}'})"
            return problem(what, found, "see `npx wrangler containers list`, and the Worker's log")
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
