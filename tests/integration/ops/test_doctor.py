"""`cutmv doctor`, as a person runs it: each line when all is well, and when it is not."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from cutmv.jobs import WAITS_FOR_STORAGE, Claimed, Claims, JobStore
from cutmv.jobs.tables import jobs
from cutmv.media import Progress
from cutmv.progress import WEBHOOK
from cutmv.transports.cloudflare.edge import signature, to_edge
from tests.support.command import Done, cutmv
from tests.support.emulator import EmulatorProcess
from tests.support.gate import Gate, object_key
from tests.support.jobs import add_job
from tests.support.processes import clean_env, free_port
from tests.support.queues import client, queue_id, send
from tests.support.redis import RedisServer
from tests.support.s3 import BUCKET, KEY_ID, SECRET, Line

QUEUE = "cutmv-processing"
WEBHOOK_SECRET = signature.WHSEC_PREFIX + "c2VjcmV0LW9mLXRoZS13ZWJob29r"
EDGE_KEYS = signature.WHSEC_PREFIX + "a2V5cy1vZi10aGUtd29ya2Vy"
FOREVER = 1e12


class Site:
    """A deployment to be checked: its environment, which a test may spoil."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.env = {"CUTMV_DATA_DIR": str(folder / "data"), **env}

    def run(self, *argv: str, **env: str) -> Done:
        return cutmv(*argv, **{**self.env, **env})

    def findings(self, **env: str) -> dict[str, dict[str, str]]:
        """What it finds, by what was checked; the exit code and the rest must agree."""
        done = self.run("doctor", "--json", **env)
        assert done.stderr == ""
        document = json.loads(done.stdout)
        problems = [each for each in document["findings"] if each["mark"] == "problem"]
        assert document["problems"] == len(problems)
        assert done.returncode == (1 if problems else 0)
        # What is not well says what to do.
        assert all(
            each["advice"]
            for each in document["findings"]
            if each["mark"] in ("problem", "warning")
        )
        return {each["what"]: each for each in document["findings"]}

    def line(self, what: str, **env: str) -> tuple[str, str, str]:
        """One finding: its mark, what was found, what to do."""
        found = self.findings(**env)[what]
        return found["mark"], found["found"], found["advice"]


class Server:
    """A small HTTP server: answers by path, and may tell another time than ours."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.ahead_s = 0.0
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.path, headers, body))
                status, document = outer.answers.get(self.path.split("?")[0], (404, {}))
                # A 204 has no body: who gets one resets the connection, now or later.
                data = b"" if status == 204 else json.dumps(document).encode()
                self.send_response(status)
                if status != 204:
                    self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(time.time() + outer.ahead_s, usegmt=True)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def eager(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Site:
    """A site on Cloudflare Queues that was provisioned, without R2 or an edge Worker."""
    site = Site(tmp_path, WEBHOOK_SECRET=WEBHOOK_SECRET, **emulator.env())
    assert site.run("provision").returncode == 0
    return site


@pytest.fixture
def bucket_site(site: Site, s3_line: Line) -> Site:
    """The same with a bucket, which the tests of this module share."""
    keys = {"R2_ACCESS_KEY_ID": KEY_ID, "R2_SECRET_ACCESS_KEY": SECRET}
    site.env |= {**keys, "R2_ENDPOINT_URL": s3_line.url, "R2_BUCKET": BUCKET}
    assert site.run("provision", "--origin", "https://cutmv.example").returncode == 0
    return site


# --- all is well


def test_with_nothing_configured_there_is_no_problem(eager: Site) -> None:
    findings = eager.findings()

    assert {each["mark"] for each in findings.values()} == {"ok", "skipped"}
    assert findings["variables"]["found"].startswith("mode eager; files in the data directory")
    not_configured = {
        "API token",
        "bucket",
        "edge Worker",
        "lease ledger",
        "push server",
        "webhook",
        "clock",
        "Redis",
        "workers' threads",
    }
    assert {what for what, each in findings.items() if each["mark"] == "skipped"} == not_configured


def test_a_provisioned_site_is_well(bucket_site: Site) -> None:
    findings = bucket_site.findings()

    assert {each["mark"] for each in findings.values()} == {"ok", "skipped"}
    for what in ("API token", "API token's permission", f"queue {QUEUE}", "clock"):
        assert findings[what]["mark"] == "ok"
    assert findings["lease ledger"]["found"].startswith("the store of large messages: it ")
    assert findings[f"bucket {BUCKET}"]["found"] == "is written, read and cleared"
    assert findings[f"pull consumer of {QUEUE}"]["found"].startswith("batch_size 100, max_retries")
    assert findings[f"lifecycle rule expire-celery-leases of {BUCKET}"]["mark"] == "ok"


def test_nothing_is_changed_nor_consumed(
    bucket_site: Site, emulator: EmulatorProcess, s3_url: str
) -> None:
    send(emulator, "one", queue=QUEUE)
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    objects = s3.list_objects_v2(Bucket=BUCKET)["KeyCount"]
    queues = list(client(emulator).list_queues(FOREVER))

    bucket_site.findings()

    assert list(client(emulator).list_queues(FOREVER)) == queues
    stats = emulator.stats()
    assert (stats["deliveries"], stats["messages"][QUEUE]) == (0, 1)
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == objects


def test_a_person_gets_a_line_for_each(site: Site) -> None:
    done = site.run("doctor")

    assert done.returncode == 0
    *lines, summary = done.stdout.splitlines()
    assert f"✔ API token: opens account {site.env['CLOUDFLARE_ACCOUNT_ID']}" in lines
    assert all(line[0] in "✔-" for line in lines)
    assert summary == "0 problem(s), 0 warning(s)."

    lines = site.run("doctor", CLOUDFLARE_QUEUE_NAME="other").stdout.splitlines()
    assert "✘ queue other: is missing → run `cutmv provision`" in lines
    assert lines[-1] == "4 problem(s), 0 warning(s)."


# --- variables


def test_a_variable_that_is_wrong_is_a_line_and_ffmpeg_is_checked_all_the_same(
    eager: Site,
) -> None:
    findings = eager.findings(R2_ACCESS_KEY_ID="key")

    assert findings["variables"]["mark"] == "problem"
    assert "R2_SECRET_ACCESS_KEY is not" in findings["variables"]["found"]
    assert findings["FFmpeg"]["mark"] == "ok"


def test_an_edge_without_keys_and_keys_without_an_edge_are_told(site: Site) -> None:
    mark, found, _ = site.line("variables", CLOUDFLARE_EDGE_URL="https://edge.example")
    assert (mark, "CLOUDFLARE_EDGE_KEYS" in found) == ("problem", True)

    mark, _, advice = site.line("CLOUDFLARE_EDGE_KEYS", CLOUDFLARE_EDGE_KEYS=EDGE_KEYS)
    assert (mark, "CLOUDFLARE_EDGE_URL" in advice) == ("warning", True)


# --- the account


def test_a_wrong_token_is_refused_and_not_shown(site: Site) -> None:
    done = site.run("doctor", "--json", CLOUDFLARE_API_TOKEN="s3cret-token")

    assert done.returncode == 1
    assert "s3cret-token" not in done.stdout + done.stderr
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["what"] == "API token"]
    assert (found["mark"], found["found"]) == ("problem", "is refused")
    assert "Queues: Edit" in found["advice"]


def test_another_account_is_told_from_a_wrong_token(site: Site) -> None:
    mark, found, _ = site.line("API token", CLOUDFLARE_ACCOUNT_ID="f" * 32)

    assert (mark, found) == ("problem", "may not list this account's queues")


def test_a_token_that_may_only_read_is_found(site: Site, emulator: EmulatorProcess) -> None:
    findings = site.findings(CLOUDFLARE_API_TOKEN=emulator.read_only_token)

    assert findings["API token"]["mark"] == "ok"
    assert findings["API token's permission"]["mark"] == "problem"
    assert "Queues: Edit" in findings["API token's permission"]["advice"]
    assert findings[f"queue {QUEUE}"]["mark"] == "ok"


@pytest.mark.slow
def test_an_api_that_hangs_keeps_no_other_check_nor_the_command_from_its_end(
    bucket_site: Site, emulator: EmulatorProcess
) -> None:
    emulator.faults({"route": "list", "kind": "hang"})
    argv = [sys.executable, "-m", "cutmv", "doctor", "--json"]

    done = subprocess.run(
        argv,
        env=clean_env(**bucket_site.env),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    findings = {each["what"]: each for each in json.loads(done.stdout)["findings"]}
    assert findings["API token"]["mark"] == "problem"
    assert "gave no answer" in findings["API token"]["found"]
    assert findings[f"bucket {BUCKET}"]["mark"] == findings["database"]["mark"] == "ok"


def test_missing_queues_are_found(tmp_path: Path, emulator: EmulatorProcess) -> None:
    findings = Site(tmp_path, WEBHOOK_SECRET=WEBHOOK_SECRET, **emulator.env()).findings()

    for what in (f"queue {QUEUE}", f"pull consumer of {QUEUE}", f"queue {QUEUE}-dead"):
        assert (findings[what]["mark"], findings[what]["found"]) == ("problem", "is missing")
        assert findings[what]["advice"] == "run `cutmv provision`"


def test_a_consumers_drift_is_found_with_what_it_should_be(
    site: Site, emulator: EmulatorProcess
) -> None:
    api, queue = client(emulator), queue_id(emulator, QUEUE)
    (consumer,) = api.list_consumers(queue, FOREVER)
    consumer["settings"]["max_retries"] = 3
    consumer["dead_letter_queue"] = ""
    api.update_consumer(queue, consumer["consumer_id"], consumer, FOREVER)

    mark, found, advice = site.line(f"pull consumer of {QUEUE}")

    assert (mark, advice) == ("problem", "run `cutmv provision`")
    assert found == f"max_retries is 3, not 100, dead_letter_queue is none, not {QUEUE}-dead"


def test_a_queue_that_forgets_too_soon_is_a_warning(site: Site, emulator: EmulatorProcess) -> None:
    client(emulator).change(queue_id(emulator, QUEUE), {"message_retention_period": 3600}, FOREVER)

    mark, found, _ = site.line(f"queue {QUEUE}")

    assert (mark, found) == ("warning", "message_retention_period is 3600, not 345600")


def test_a_queue_that_a_worker_consumes_is_found(site: Site, emulator: EmulatorProcess) -> None:
    api, queue = client(emulator), queue_id(emulator, QUEUE)
    (consumer,) = api.list_consumers(queue, FOREVER)
    worker = {"type": "worker", "script_name": "cutmv-processor"}
    api.update_consumer(queue, consumer["consumer_id"], worker, FOREVER)

    mark, _, advice = site.line(f"pull consumer of {QUEUE}")

    assert mark == "problem"
    assert f"npx wrangler queues consumer worker remove {QUEUE} cutmv-processor" in advice


# --- the bucket


def test_a_missing_bucket_is_found(bucket_site: Site) -> None:
    mark, found, advice = bucket_site.line("bucket no-such", R2_BUCKET="no-such")

    assert (mark, found, advice) == ("problem", "is missing", "run `cutmv provision`")


def test_a_bucket_without_rules_is_found(bucket_site: Site, s3_url: str) -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket="bare")

    findings = bucket_site.findings(R2_BUCKET="bare", WEBHOOK_URL="https://127.0.0.1:9")

    assert findings["bucket bare"]["mark"] == "ok"
    for what in ("CORS rule cutmv", "lifecycle rule expire-results"):
        found = findings[f"{what} of bare"]
        assert (found["mark"], found["advice"]) == ("problem", "run `cutmv provision`")


def test_a_bucket_that_is_cut_off_is_one_line_without_secrets(
    bucket_site: Site, s3_line: Line
) -> None:
    s3_line.cut()

    done = bucket_site.run("doctor", "--json")

    (found,) = [
        each for each in json.loads(done.stdout)["findings"] if each["what"] == f"bucket {BUCKET}"
    ]
    assert found["mark"] == "problem"
    assert "R2_ENDPOINT_URL" in found["advice"]
    assert SECRET not in done.stdout + done.stderr


def test_a_workers_key_is_well_and_what_it_can_not_see_is_said(
    bucket_site: Site, s3_url: str
) -> None:
    gate = Gate(s3_url, object_key)
    try:
        findings = bucket_site.findings(R2_ENDPOINT_URL=gate.url)
    finally:
        gate.close()

    assert findings[f"bucket {BUCKET}"]["mark"] == "ok"
    assert findings["bucket's rules"]["mark"] == "skipped"
    assert "Admin Read & Write" in findings["bucket's rules"]["advice"]


def test_a_store_that_ignores_conditions_is_found(bucket_site: Site, s3_url: str) -> None:
    """Where two workers finish one output, the second would replace the first's."""
    seen: list[str] = []

    def forgets_the_first(method: str, path: str) -> tuple[int, str] | None:
        if method != "PUT" or "/doctor/" not in path:
            return None
        seen.append(path)
        return (200, "") if len(seen) == 2 else None

    gate = Gate(s3_url, forgets_the_first)
    try:
        mark, found, advice = bucket_site.line(f"bucket {BUCKET}", R2_ENDPOINT_URL=gate.url)
    finally:
        gate.close()

    assert (mark, found) == ("problem", "a conditional write replaced an object")
    assert "If-None-Match" in advice


# --- clocks


@pytest.mark.parametrize(
    ("ahead_s", "mark", "found"),
    [
        (0, "ok", "agrees with 127.0.0.1"),
        (-60, "warning", "s ahead of 127.0.0.1"),
        (100, "warning", "s behind 127.0.0.1"),
        (3600, "problem", "signatures are refused"),
    ],
)
def test_a_clock_that_is_off_is_found(
    site: Site, server: Server, ahead_s: float, mark: str, found: str
) -> None:
    server.ahead_s = ahead_s

    line = site.line("clock", CLOUDFLARE_API_BASE_URL=f"{server.url}/client/v4")

    assert (line[0], found in line[1]) == (mark, True)


# --- the edge Worker


@pytest.fixture
def edge_site(site: Site, server: Server) -> Site:
    """A site whose edge Worker is a stand-in: tests/edge has the real one."""
    server.answers = {
        "/healthz": (200, {"ok": True, "version": "0.1.0"}),
        "/v1/hub": (426, {"detail": "The hub speaks WebSocket."}),
        f"/v1/queues/{QUEUE}/messages": (400, {"detail": "want 1 to 100 messages"}),
        "/v1/results": (400, {"detail": "want 1 to 1,000 operations"}),
    }
    site.env |= {"CLOUDFLARE_EDGE_URL": server.url, "CLOUDFLARE_EDGE_KEYS": EDGE_KEYS}
    return site


def test_an_edge_worker_is_asked_signed_and_changes_nothing(
    edge_site: Site, server: Server
) -> None:
    findings = edge_site.findings()

    assert findings["edge Worker"]["found"] == "version 0.1.0 answers"
    for what in ("clock", "keys", f"binding of {QUEUE}", "results"):
        assert findings[f"edge Worker's {what}"]["mark"] == "ok"
    seen = signature.SeenIds()
    signed = [request for request in server.requests if request[0] != "/healthz"]
    for path, headers, body in signed:
        purpose = to_edge("POST" if body else "GET", path)
        signature.verify(EDGE_KEYS, purpose, headers, body, seen=seen)
    (batch,) = [body for path, _, body in signed if path.endswith("/messages")]
    assert json.loads(batch) == {"messages": []}


def test_a_hub_that_lets_nobody_in_is_found(edge_site: Site) -> None:
    mark, found, _ = edge_site.line("edge Worker's hub")

    assert (mark, found) == ("problem", "no WebSocket in two seconds")


@pytest.mark.parametrize(
    ("path", "answer", "what", "mark", "advice"),
    [
        ("/healthz", (200, {"hello": "world"}), "edge Worker", "problem", "npm run deploy"),
        ("/v1/hub", (401, {"detail": "wrong"}), "edge Worker's keys", "problem", "EDGE_KEYS"),
        ("/v1/hub", (503, {}), "edge Worker's keys", "problem", "secret put EDGE_KEYS"),
        (
            f"/v1/queues/{QUEUE}/messages",
            (404, {}),
            f"edge Worker's binding of {QUEUE}",
            "warning",
            "wrangler.toml",
        ),
        ("/v1/results", (404, {}), "edge Worker's results", "problem", "npm run deploy"),
    ],
)
def test_what_is_wrong_with_an_edge_worker_is_told(
    edge_site: Site, server: Server, path: str, answer: Any, what: str, mark: str, advice: str
) -> None:
    server.answers[path] = answer

    line = edge_site.line(what)

    assert (line[0], advice in line[2]) == (mark, True)


def test_an_edge_worker_that_is_not_there_is_found(edge_site: Site) -> None:
    mark, found, advice = edge_site.line("edge Worker", CLOUDFLARE_EDGE_URL="http://127.0.0.1:9")

    assert (mark, "gave no answer" in found) == ("problem", True)
    assert "npm run deploy" in advice


def test_the_clock_of_the_edge_worker_is_compared_too(edge_site: Site, server: Server) -> None:
    server.ahead_s = 3600

    assert edge_site.line("edge Worker's clock")[0] == "problem"


# --- push mode


def test_the_push_server_is_checked_in_push_mode(site: Site) -> None:
    push = {"CLOUDFLARE_CONSUME": "push", "CLOUDFLARE_INGRESS_PORT": str(free_port())}
    mark, found, _ = site.line("variables", **push)  # without a key
    assert (mark, "CLOUDFLARE_EDGE_KEYS" in found) == ("problem", True)

    keys = {"CLOUDFLARE_EDGE_KEYS": EDGE_KEYS}
    mark, found, _ = site.line("push server", **push, **keys)
    assert (mark, "is free for a worker" in found) == ("ok", True)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        push["CLOUDFLARE_INGRESS_PORT"] = str(taken.getsockname()[1])
        assert "takes connections" in site.line("push server", **push, **keys)[1]

    push["CLOUDFLARE_INGRESS_HOST"] = "203.0.113.1"  # of no machine
    mark, _, advice = site.line("push server", **push, **keys)
    assert (mark, "CLOUDFLARE_INGRESS_HOST" in advice) == ("problem", True)


def test_a_pull_consumer_is_a_problem_in_push_mode(site: Site) -> None:
    push = {"CLOUDFLARE_CONSUME": "push", "CLOUDFLARE_EDGE_KEYS": EDGE_KEYS}

    mark, _, advice = site.line(f"Worker consumer of {QUEUE}", **push)

    assert (mark, advice) == ("problem", f"npx wrangler queues consumer http remove {QUEUE}")


# --- the webhook


def test_a_webhook_is_sent_a_signed_report_of_nothing(site: Site, server: Server) -> None:
    server.answers["/api/queue-progress"] = (204, None)

    server.answers["/api/queue-status"] = (200, {"unwell_threads": ["janitor"]})

    findings = site.findings(WEBHOOK_URL=server.url)

    assert findings["webhook"]["mark"] == "ok"
    threads = findings["web server's threads"]
    assert (threads["mark"], "in janitor" in threads["found"]) == ("warning", True)
    (_, headers, body), _ = server.requests
    signature.verify(WEBHOOK_SECRET, WEBHOOK, headers, body, seen=signature.SeenIds())
    assert json.loads(body) == {"events": []}


@pytest.mark.parametrize(
    ("status", "mark", "advice"),
    [(401, "problem", "WEBHOOK_SECRET"), (404, "problem", "WEBHOOK_URL")],
)
def test_a_webhook_that_refuses_is_found(
    site: Site, server: Server, status: int, mark: str, advice: str
) -> None:
    server.answers["/api/queue-progress"] = (status, {})

    line = site.line("webhook", WEBHOOK_URL=server.url)

    assert (line[0], advice in line[2]) == (mark, True)


def test_a_webhook_that_is_away_is_a_warning(site: Site) -> None:
    mark, found, _ = site.line("webhook", WEBHOOK_URL="http://user:hush@127.0.0.1:9")

    assert mark == "warning"
    assert found.startswith("127.0.0.1:9 gave no answer")


def test_a_webhook_secret_of_one_machine_alone_is_a_warning(site: Site) -> None:
    env = {"WEBHOOK_URL": "http://127.0.0.1:9", "WEBHOOK_SECRET": ""}

    assert site.line("webhook secret", **env)[0] == "warning"
    assert "webhook secret" not in site.findings(WEBHOOK_URL="http://127.0.0.1:9")


# --- this machine


def test_redis_is_asked(eager: Site, redis_server: RedisServer) -> None:
    assert eager.line("Redis", REDIS_URL=redis_server.url)[0] == "ok"

    mark, _, advice = eager.line("Redis", REDIS_URL=f"redis://:hush@127.0.0.1:{free_port()}/0")

    assert (mark, "REDIS_URL" in advice) == ("problem", True)


def test_a_redis_password_is_not_shown(eager: Site) -> None:
    done = eager.run("doctor", REDIS_URL=f"redis://:hush@127.0.0.1:{free_port()}/0")

    assert "hush" not in done.stdout + done.stderr


def test_a_database_in_use_is_well(eager: Site, tmp_path: Path) -> None:
    JobStore(f"sqlite:///{tmp_path / 'jobs.db'}").close()

    mark, found, _ = eager.line("database", DATABASE_URL=f"sqlite:///{tmp_path / 'jobs.db'}")

    assert (mark, found) == ("ok", "sqlite answers and can be written")


def test_a_postgresql_is_asked(eager: Site, postgres_url: str) -> None:
    JobStore(postgres_url).close()

    mark, found, _ = eager.line("database", DATABASE_URL=postgres_url)

    assert (mark, found) == ("ok", "postgresql answers and can be written")


def _no_database(path: Path) -> str:
    path.write_bytes(b"this is no database, and long enough to be seen to be none" * 100)
    return f"sqlite:///{path}"


def _read_only(path: Path) -> str:
    JobStore(f"sqlite:///{path}").close()
    return f"sqlite:///file:{path}?mode=ro&uri=true"


def _of_another_version(path: Path) -> str:
    with sqlite3.connect(path) as db:
        db.execute("create table jobs (id text)")
    db.close()
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_no_database, "file is not a database"),
        (_read_only, "readonly database"),
        (_of_another_version, "it is of an earlier version"),
        (lambda path: f"sqlite:///{path.parent / 'no-such' / 'jobs.db'}", "its folder is missing"),
        (lambda _: "postgresql://cutmv:hush@127.0.0.1:9/cutmv", "postgresql"),
    ],
)
def test_a_database_that_can_not_be_used_is_found(
    eager: Site, tmp_path: Path, make: Callable[[Path], str], said: str
) -> None:
    mark, found, advice = eager.line("database", DATABASE_URL=make(tmp_path / "jobs.db"))

    assert (mark, said in found) == ("problem", True)
    assert "DATABASE_URL" in advice or "restart" in advice
    assert "hush" not in found


def test_steps_that_wait_without_a_reason_are_found(eager: Site, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with closing(JobStore(url)) as store:
        assert eager.line("waiting steps", DATABASE_URL=url)[:2] == ("ok", "there are none")
        job = add_job(store)
        assert eager.line("waiting steps", DATABASE_URL=url)[:2] == ("ok", "2 wait for their turn")

        with store.engine.begin() as db:
            db.execute(jobs.update().values(created_at=jobs.c.created_at - 300))
        mark, found, advice = eager.line("waiting steps", DATABASE_URL=url)
        assert mark == "problem"
        assert re.fullmatch(r"2 wait, one for 3\d\d s, and no step runs", found)
        assert "cutmv worker" in advice

        owner = Claims(store, "a worker")
        claimed = owner.claim(job.steps[0].id, "redis")
        assert isinstance(claimed, Claimed)
        owner.beat(claimed.step, WAITS_FOR_STORAGE, Progress())
        mark, found, _ = eager.line("waiting steps", DATABASE_URL=url)
        assert mark == "warning"
        assert re.fullmatch(r"1 wait for the storage, one for 3\d\d s", found)


def test_too_little_space_for_an_upload_is_a_warning(eager: Site) -> None:
    mark, found, _ = eager.line("data directory", CUTMV_MAX_UPLOAD_BYTES=str(10**18))

    assert (mark, "less than the largest upload" in found) == ("warning", True)


def test_an_ffmpeg_of_the_path_is_not_needed(eager: Site) -> None:
    findings = eager.findings(PATH="/nowhere")

    assert findings["FFmpeg"]["mark"] == "ok"  # the wheel's
    assert findings["encoder"]["found"].startswith("libx264; where hardware is asked for, ")


def test_an_ffmpeg_that_is_missing_or_too_old_is_found(eager: Site, tmp_path: Path) -> None:
    mark, found, _ = eager.line("FFmpeg", CUTMV_FFMPEG="/no/such/ffmpeg")
    assert (mark, "/no/such/ffmpeg" in found) == ("problem", True)

    old = tmp_path / "ffmpeg"
    old.write_text(
        "#!/bin/sh\necho 'ffmpeg version 4.4 of old'\necho 'libavutil      56. 70.100'\n"
    )
    old.chmod(0o755)
    mark, found, advice = eager.line("FFmpeg", CUTMV_FFMPEG=str(old))
    assert mark == "problem"
    assert found.startswith(f"4.4 at {old} lacks version 7.0 or newer")
    assert "libx264 (encoder)" in found
    assert "7.0" in advice


@pytest.mark.slow
def test_objects_of_others_have_a_preset_an_owner_and_notifications(
    bucket_site: Site, emulator: EmulatorProcess
) -> None:
    told = {
        "CUTMV_INCOMING_PREFIX": "incoming",
        "CUTMV_INCOMING_PRESET": "reels",
        "CUTMV_INCOMING_OWNER": "ann@example.com",
    }
    what = f"event notifications of {bucket_site.env['R2_BUCKET']} to {QUEUE}-incoming"
    before = bucket_site.findings(**told)
    assert before[what]["found"] == "is missing"
    assert before["CUTMV_INCOMING_OWNER"]["found"] == "there is no account of ann@example.com"
    assert bucket_site.run("provision", **told).returncode == 0
    assert bucket_site.run("people", "invite", "ann@example.com", **told).returncode == 0

    after = bucket_site.findings(**told)
    utube = bucket_site.line("CUTMV_INCOMING_PRESET", **{**told, "CUTMV_INCOMING_PRESET": "utube"})

    assert after[what]["mark"] == after["CUTMV_INCOMING_OWNER"]["mark"] == "ok"
    assert after["CUTMV_INCOMING_PRESET"]["mark"] == "ok"
    assert utube[:2] == ("problem", "there is no preset 'utube'")
