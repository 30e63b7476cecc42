"""Checks of what is reached over the network: clocks, Redis, the webhook, the edge Worker."""

import json
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit
from uuid import uuid4

import httpx

from cutmv.config import WEBHOOK_PURPOSE, Settings
from cutmv.install import install_command
from cutmv.ops.checks.ingress import ingress
from cutmv.ops.finding import Finding, ok, problem, skipped, warning
from cutmv.transports.cloudflare.edge import HubClient, signature, to_edge
from cutmv.transports.cloudflare.options import Options

#: Seconds that a request may take.
REQUEST_TIMEOUT_S = 5.0
#: Seconds that a clock may be off without a warning; signatures allow `signature.TOLERANCE`.
MAX_CLOCK_SKEW_S = 30.0
#: A scope of the edge Worker's hub that nobody else uses.
HUB_SCOPE = "cutmv-doctor"
#: What to do about an edge Worker that does not answer as ours does.
DEPLOY_ADVICE = "deploy the edge Worker: cd edge && npm ci && npm run deploy"


def clock(options: Options | None) -> Iterator[Finding]:
    """How far this machine's clock is from Cloudflare's."""
    what = "clock"
    if options is None:
        yield skipped(what, "no Cloudflare account is used, so there is none to compare with")
        return
    began = time.time()
    try:
        answer = httpx.get(options.api_base_url, timeout=REQUEST_TIMEOUT_S)
    except httpx.HTTPError as error:
        found = f"Cloudflare's API gave no answer: {type(error).__name__}"
        yield problem(what, found, "check the network, and CLOUDFLARE_API_BASE_URL")
        return
    yield _compared(what, answer, began)


def _compared(what: str, answer: httpx.Response, began: float) -> Finding:
    """How far our clock is from the server's; the request was sent at `began`."""
    try:
        theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return skipped(what, "the answer tells no time")
    # The header has whole seconds; the server wrote it between our request and now.
    off = (began + time.time()) / 2 - (theirs + 0.5)
    whose = urlsplit(str(answer.url)).hostname
    if abs(off) < MAX_CLOCK_SKEW_S:
        return ok(what, f"agrees with {whose} within {max(1, round(abs(off)))} s")
    found = f"is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} {whose}"
    advice = "have it set by NTP: timedatectl set-ntp true"
    if abs(off) < signature.TOLERANCE:
        return warning(what, found, advice)
    return problem(what, f"{found}, so signatures are refused", advice)


def redis(settings: Settings) -> Iterator[Finding]:
    """Whether Redis answers, where there is one."""
    what = "Redis"
    if not settings.redis_url:
        yield skipped(what, "REDIS_URL is not set")
        return
    advice = "start it, or correct REDIS_URL (redis://:PASSWORD@HOST:PORT/DB)"
    try:
        from redis import Redis, RedisError
    except ImportError:
        yield problem(what, "the package redis is missing", install_command("redis"))
        return
    host = urlsplit(settings.redis_url).hostname
    try:
        with Redis.from_url(
            settings.redis_url,
            socket_timeout=REQUEST_TIMEOUT_S,
            socket_connect_timeout=REQUEST_TIMEOUT_S,
        ) as client:
            version = client.info("server")["redis_version"]
    except (RedisError, OSError, ValueError) as error:
        yield problem(what, f"{host}: {type(error).__name__}", advice)
        return
    yield ok(what, f"{version} at {host}")


def webhook(settings: Settings) -> Iterator[Finding]:
    """Whether the web server accepts a worker's webhook: a signed one without events."""
    what = "webhook"
    if settings.mode != "cloudflare":
        yield skipped(what, f"progress takes another way in mode {settings.mode}")
        return
    if not settings.webhook_url and settings.edge_url:
        yield skipped(what, "WEBHOOK_URL is not set; progress takes the edge Worker's hub")
        return
    if not settings.webhook_url:
        advice = "set it where `cutmv web` and `cutmv worker` are run apart (`cutmv up` needs none)"
        yield skipped(what, "WEBHOOK_URL is not set", advice)
        return
    body = json.dumps({"events": []}).encode()
    purpose = signature.Purpose(*WEBHOOK_PURPOSE)
    headers = {
        "content-type": "application/json",
        **signature.headers(settings.webhook_secret, purpose, body),
    }
    host = urlsplit(settings.webhook_url).netloc.rpartition("@")[2]
    try:
        answer = httpx.post(
            settings.webhook_url, content=body, headers=headers, timeout=REQUEST_TIMEOUT_S
        )
    except httpx.HTTPError as error:
        found = f"{host} gave no answer ({type(error).__name__}), so progress comes late"
        yield warning(what, found, "start `cutmv web` there, or correct WEBHOOK_URL")
        return
    if answer.is_success:
        yield ok(what, f"{host} takes our signature")
        yield from _threads(settings.webhook_url, host)
    elif answer.status_code == 401:
        advice = "set the same WEBHOOK_SECRET for the web server and the workers; compare clocks"
        yield problem(what, f"{host} refuses our signature", advice)
    else:
        found = f"{host} answered HTTP {answer.status_code}"
        yield problem(what, found, "set WEBHOOK_URL to the address of `cutmv web`")


def _threads(url: str, host: str) -> Iterator[Finding]:
    """Whether the web server's threads met errors that nobody expected; none of an older one."""
    what = "web server's threads"
    try:
        answer = httpx.get(urljoin(url, "/api/queue-status"), timeout=REQUEST_TIMEOUT_S)
    except httpx.HTTPError as error:
        yield warning(what, f"no answer: {type(error).__name__}", "run `cutmv doctor` again")
        return
    if answer.status_code == 401:
        yield skipped(what, f"{host} asks who we are: see its /api/queue-status, signed in")
        return
    unwell = _document(answer).get("unwell_threads")
    if unwell:
        found = f"an error that nobody expected, a moment ago, in {', '.join(map(str, unwell))}"
        yield warning(what, f"{host}: {found}", "read its log, and report the error if it goes on")
    elif unwell is not None:
        yield ok(what, f"{host}: all are well")


def edge(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """Whether the edge Worker answers, accepts our signature, has the queue, and its hub opens."""
    what = "edge Worker"
    if options is None or not options.edge_url:
        yield skipped(what, "CLOUDFLARE_EDGE_URL is not set")
        return
    with httpx.Client(base_url=options.edge_url.rstrip("/"), timeout=REQUEST_TIMEOUT_S) as http:
        began = time.time()
        try:
            health = http.get("/healthz")
        except httpx.HTTPError as error:
            found = f"gave no answer: {type(error).__name__}"
            yield problem(what, found, f"{DEPLOY_ADVICE}, or correct CLOUDFLARE_EDGE_URL")
            return
        version = _document(health).get("version")
        if health.status_code != 200 or version is None:
            found = f"answered HTTP {health.status_code}, and is not ours"
            yield problem(what, found, f"{DEPLOY_ADVICE}, or correct CLOUDFLARE_EDGE_URL")
            return
        yield ok(what, f"version {version} answers")
        yield _compared("edge Worker's clock", health, began)
        accepted = _signed(http, options.edge_keys)
        yield accepted
        if accepted.mark == "ok":
            for name in settings.queue_names:
                yield _queue_binding(http, options.edge_keys, name)
            yield _results(http, options.edge_keys)
            yield _hub(options)
            yield from ingress(settings, options, http)


def _signed(http: httpx.Client, keys: str) -> Finding:
    """A signed request to the hub that opens no WebSocket."""
    what = "edge Worker's keys"
    target = f"/v1/hub?{urlencode({'client': f'doctor-{uuid4().hex}', 'scope': HUB_SCOPE})}"
    try:
        answer = http.get(target, headers=signature.headers(keys, to_edge("GET", target)))
    except httpx.HTTPError as error:
        return problem(what, f"no answer: {type(error).__name__}", "run `cutmv doctor` again")
    match answer.status_code:
        case 426:  # accepted, though it is no WebSocket
            return ok(what, "our signature is accepted")
        case 401:
            said = str(_document(answer).get("detail", "our signature is refused"))
            advice = (
                "set CLOUDFLARE_EDGE_KEYS to the Worker's own, or the Worker's to these:"
                " cd edge && npx wrangler secret put EDGE_KEYS --config ../wrangler.toml"
                " --env production"
            )
            return problem(what, said, advice)
        case 503:
            advice = (
                "cd edge && npx wrangler secret put EDGE_KEYS --config ../wrangler.toml"
                " --env production"
            )
            return problem(what, "the Worker has none", advice)
    return problem(what, f"HTTP {answer.status_code}", DEPLOY_ADVICE)


def _queue_binding(http: httpx.Client, keys: str, queue_name: str) -> Finding:
    """A batch without messages: the Worker answers 400 where it has a binding to the queue."""
    what = f"edge Worker's binding of {queue_name}"
    path = f"/v1/queues/{queue_name}/messages"
    answer = _posted(http, keys, what, path, b'{"messages":[]}')
    if isinstance(answer, Finding):
        return answer
    if answer.status_code == 400:
        return ok(what, "is there")
    found = f"HTTP {answer.status_code}"
    if answer.status_code == 404:
        found = "is missing, so publishing takes the REST API and its limit"
    return warning(
        what, found, f"add the queue to wrangler.toml as it says there, and {DEPLOY_ADVICE}"
    )


def _results(http: httpx.Client, keys: str) -> Finding:
    """A call without operations: the Worker answers 400 where it keeps Celery's results."""
    what = "edge Worker's results"
    answer = _posted(http, keys, what, "/v1/results", b'{"ops":[]}')
    if isinstance(answer, Finding):
        return answer
    if answer.status_code == 400:
        return ok(what, "it keeps Celery's results")
    found = f"HTTP {answer.status_code}"
    if answer.status_code == 404:
        found = "it keeps none, so no worker starts"
    return problem(what, found, f"add RESULTS to wrangler.toml as it is there, and {DEPLOY_ADVICE}")


def _posted(
    http: httpx.Client, keys: str, what: str, path: str, body: bytes
) -> httpx.Response | Finding:
    """The Worker's answer to a signed call; a problem where there is none."""
    signed = signature.headers(keys, to_edge("POST", path), body)
    try:
        return http.post(path, content=body, headers={"content-type": "application/json", **signed})
    except httpx.HTTPError as error:
        return problem(what, f"no answer: {type(error).__name__}", "run `cutmv doctor` again")


def _hub(options: Options) -> Finding:
    what = "edge Worker's hub"
    hub = HubClient(options.edge_url, options.edge_keys, HUB_SCOPE)
    try:
        hub.start()
        connected = hub.connected
    finally:
        hub.close(1.0)
    if connected:
        return ok(what, "lets us in by WebSocket")
    advice = f"see that no proxy in between stops WebSockets; else {DEPLOY_ADVICE}"
    return problem(what, "no WebSocket in two seconds", advice)


def _document(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
