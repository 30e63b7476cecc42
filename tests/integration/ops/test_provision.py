"""`cutmv provision`, as a person runs it, against the emulator and an S3 server."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest

from cutmv.ops.queue_plan import PUSH_CONSUMER
from cutmv.transports.cloudflare.queues import DEAD_LETTER_RETENTION, RETENTION
from tests.support.command import Done, cutmv
from tests.support.emulator import EmulatorProcess
from tests.support.gate import Gate, Refusal, fixed_retention, object_key
from tests.support.processes import clean_env
from tests.support.queues import client, make_dead, queue_id, run, send
from tests.support.s3 import KEY_ID, SECRET

QUEUE, DEAD = "cutmv-processing", "cutmv-processing-dead"
LONG = "cutmv-processing-long"
WITHOUT_R2 = {"R2_ACCESS_KEY_ID": "", "R2_SECRET_ACCESS_KEY": "", "R2_ENDPOINT_URL": ""}
PUSH = {"CLOUDFLARE_CONSUME": "push", "CLOUDFLARE_EDGE_KEYS": "a-key-of-the-worker"}
#: Routes of the emulator that change something.
WRITES = {"create", "update", "edit", "delete", "purge", "publish", "batch", "ack"}
WRITES |= {"create_consumer", "update_consumer", "delete_consumer"}
FOREVER = 1e12


class Account:
    """An account and a deployment's environment; the bucket is a new one each time."""

    def __init__(self, emulator: EmulatorProcess, s3_url: str, data_dir: Path) -> None:
        self.emulator = emulator
        self.bucket = f"cutmv-{uuid4().hex[:8]}"
        self.env = {
            **emulator.env(),
            "CUTMV_DATA_DIR": str(data_dir),
            "R2_BUCKET": self.bucket,
            "R2_ENDPOINT_URL": s3_url,
            "R2_ACCESS_KEY_ID": KEY_ID,
            "R2_SECRET_ACCESS_KEY": SECRET,
            "WEBHOOK_URL": "https://cutmv.example.com/api/queue-progress",
        }
        self.s3 = boto3.client(
            "s3",
            endpoint_url=s3_url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        self.client = client(emulator)

    def run(self, *argv: str, **env: str) -> Done:
        return cutmv("provision", *argv, **{**self.env, **env})

    def provision(self, **env: str) -> str:
        """Run it, and expect it to succeed; returns what it printed."""
        done = self.run(**env)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def queues(self) -> dict[str, Any]:
        return {each["queue_name"]: each for each in self.client.list_queues(FOREVER)}

    def consumer(self, name: str) -> dict[str, Any]:
        (consumer,) = self.queues()[name]["consumers"]
        return consumer

    def set_consumer(self, name: str, consumer: dict[str, Any]) -> None:
        """Have `name` consumed so, whatever consumes it now."""
        for queue in self.queues().values():
            for found in queue["consumers"] if queue["queue_name"] == name else ():
                url = f"/queues/{queue['queue_id']}/consumers/{found['consumer_id']}"
                self.call("DELETE", url)
        self.client.create_consumer(queue_id(self.emulator, name), consumer, FOREVER)

    def call(self, method: str, path: str, document: Any = None) -> None:
        url = f"{self.emulator.base_url}/accounts/{self.emulator.account_id}{path}"
        headers = {"authorization": f"Bearer {self.emulator.api_token}"}
        httpx.request(method, url, json=document, headers=headers).raise_for_status()

    def lifecycle(self) -> dict[str, Any]:
        answer = self.s3.get_bucket_lifecycle_configuration(Bucket=self.bucket)
        return {rule["ID"]: rule for rule in answer["Rules"]}

    def writes(self) -> dict[str, int]:
        """How many calls could have changed something, by route."""
        calls = self.emulator.stats()["calls"]
        return {route: sum(calls[route].values()) for route in calls if route in WRITES}


@pytest.fixture
def account(emulator: EmulatorProcess, s3_url: str, tmp_path: Path) -> Iterator[Account]:
    made = Account(emulator, s3_url, tmp_path / "data")
    yield made
    made.client.close()


@pytest.fixture
def make_gate() -> Iterator[Callable[[str, Refusal], Gate]]:
    """Put a gate before a server."""
    made: list[Gate] = []

    def make(target: str, refuses: Refusal) -> Gate:
        made.append(Gate(target, refuses))
        return made[-1]

    yield make
    for gate in made:
        gate.close()


# --- what a fresh account gets


def test_a_fresh_account_gets_everything_and_a_second_run_nothing(account: Account) -> None:
    first = account.provision()

    assert "Plan: 10 to add, 0 to change." in first
    assert [line for line in first.splitlines() if line.endswith(": added")] == [
        f"queue {DEAD}: added",
        f"pull consumer of {DEAD}: added",
        f"queue {QUEUE}: added",
        f"pull consumer of {QUEUE}: added",
        f"bucket {account.bucket}: added",
        f"CORS rule cutmv of {account.bucket}: added",
        f"lifecycle rule cutmv-abort-unfinished of {account.bucket}: added",
        f"lifecycle rule expire-results of {account.bucket}: added",
        f"lifecycle rule expire-celery-large-messages of {account.bucket}: added",
        f"lifecycle rule expire-celery-leases of {account.bucket}: added",
    ]
    queues = account.queues()
    kept = {name: each["settings"]["message_retention_period"] for name, each in queues.items()}
    assert kept == {DEAD: DEAD_LETTER_RETENTION, QUEUE: RETENTION}
    assert account.consumer(QUEUE)["dead_letter_queue"] == DEAD
    assert account.consumer(DEAD)["dead_letter_queue"] == ""
    pulled = {
        "batch_size": 100,
        "max_retries": 100,
        "retry_delay": 0,
        "visibility_timeout_ms": 300_000,
    }
    assert account.consumer(QUEUE)["settings"] == account.consumer(DEAD)["settings"] == pulled
    days = {
        name: rule.get("Expiration", {}).get("Days") for name, rule in account.lifecycle().items()
    }
    assert days == {
        "cutmv-abort-unfinished": None,
        "expire-results": 1,
        "expire-celery-large-messages": 30,
        "expire-celery-leases": 15,
    }
    (cors,) = account.s3.get_bucket_cors(Bucket=account.bucket)["CORSRules"]
    assert cors["AllowedOrigins"] == ["https://cutmv.example.com"]
    assert cors["AllowedMethods"] == ["GET", "HEAD", "PUT"]
    assert cors["AllowedHeaders"] == ["content-md5", "range"]

    writes = account.writes()
    assert account.provision() == "No changes.\n"
    assert account.writes() == writes


def test_provision_makes_what_the_transport_itself_would(
    account: Account, emulator: EmulatorProcess
) -> None:
    """So a worker that came first, and one that comes after, find what they would have made."""
    send(emulator, "one", queue=QUEUE)

    left = json.loads(account.run("--json", **WITHOUT_R2).stdout)

    assert [change["what"] for change in left["changes"]] == [f"pull consumer of {DEAD}"]


def test_what_it_made_can_be_replayed(account: Account, emulator: EmulatorProcess) -> None:
    account.provision(CLOUDFLARE_QUEUE_NAME="work")
    account.set_consumer(
        "work",
        {"type": "http_pull", "settings": {"max_retries": 0}, "dead_letter_queue": "work-dead"},
    )
    make_dead(emulator, "one")
    made = account.writes()["create_consumer"]

    assert run(emulator, "replay", "work").stdout == "1 dead letter(s) are back in 'work'.\n"
    assert account.writes()["create_consumer"] == made


def test_a_dry_run_shows_the_plan_and_changes_nothing(account: Account) -> None:
    done = account.run("--dry-run")

    assert done.returncode == 0
    assert f"+ queue {QUEUE}\n    message_retention_period: 345600\n" in done.stdout
    assert "Plan: 10 to add, 0 to change.\n" in done.stdout
    assert "added" not in done.stdout
    assert account.writes() == {}
    assert account.queues() == {}
    assert account.bucket not in [each["Name"] for each in account.s3.list_buckets()["Buckets"]]


def test_it_is_a_command_of_cutmv(account: Account) -> None:
    argv = [sys.executable, "-m", "cutmv", "provision", "--dry-run"]

    output = subprocess.check_output(argv, env=clean_env(**account.env), text=True, timeout=60)

    assert output.endswith("Plan: 10 to add, 0 to change.\n")


def test_json_is_one_document(account: Account) -> None:
    document = json.loads(account.run("--dry-run", "--json").stdout)

    assert (document["error"], document["left_alone"]) == (None, [])
    first = document["changes"][0]
    assert first == {
        "action": "add",
        "what": f"queue {DEAD}",
        "settings": {"message_retention_period": {"old": None, "new": DEAD_LETTER_RETENTION}},
        "done": False,
    }
    assert all(each["done"] for each in json.loads(account.run("--json").stdout)["changes"])


# --- drift


@pytest.mark.parametrize(
    ("name", "setting", "drifted"),
    [
        (QUEUE, "batch_size", 5),
        (QUEUE, "max_retries", 3),
        (QUEUE, "visibility_timeout_ms", 30_000),
        (DEAD, "max_retries", 3),
        (DEAD, "visibility_timeout_ms", 1000),
    ],
)
def test_a_consumers_drift_is_mended_and_the_rest_kept(
    account: Account, name: str, setting: str, drifted: int
) -> None:
    account.provision()
    good = account.consumer(name)
    settings = {**good["settings"], "retry_delay": 7}
    account.set_consumer(name, {**good, "settings": {**settings, setting: drifted}})

    output = account.provision()

    assert output.splitlines() == [
        f"~ pull consumer of {name}",
        f"    {setting}: {drifted} → {settings[setting]}",
        "Plan: 0 to add, 1 to change.",
        f"pull consumer of {name}: changed",
    ]
    assert account.consumer(name)["settings"] == settings
    assert account.consumer(name)["dead_letter_queue"] == good["dead_letter_queue"]


def test_a_dead_letter_queue_that_was_taken_off_is_put_back(account: Account) -> None:
    account.provision()
    account.set_consumer(QUEUE, {**account.consumer(QUEUE), "dead_letter_queue": ""})

    assert f"    dead_letter_queue: none → {DEAD}\n" in account.provision()
    assert account.consumer(QUEUE)["dead_letter_queue"] == DEAD


@pytest.mark.parametrize("name", [QUEUE, DEAD])
def test_a_queue_that_forgets_too_soon_is_mended_and_one_that_keeps_longer_left(
    account: Account, name: str
) -> None:
    account.provision()
    account.client.change(
        queue_id(account.emulator, name), {"message_retention_period": 3600}, FOREVER
    )
    assert "    message_retention_period: 3600 → " in account.provision()

    account.client.change(
        queue_id(account.emulator, QUEUE), {"message_retention_period": RETENTION + 3600}, FOREVER
    )
    assert account.provision() == "No changes.\n"


def test_a_paused_queue_is_told_of_and_left(account: Account) -> None:
    account.provision()
    path = f"/queues/{queue_id(account.emulator, QUEUE)}"
    account.call("PATCH", path, {"settings": {"delivery_paused": True}})

    output = account.provision()

    assert f"npx wrangler queues resume-delivery {QUEUE}" in output
    assert account.queues()[QUEUE]["settings"]["delivery_paused"]


# --- interruptions


@pytest.mark.parametrize("route", ["create", "edit", "create_consumer"])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_call_that_is_dropped_is_made_again(account: Account, route: str, kind: str) -> None:
    """After `drop_after` it was done all the same, so the second try is refused."""
    account.emulator.faults({"route": route, "kind": kind, "count": 1})

    account.provision()

    assert account.emulator.faults_in_force()[0]["fired"] == 1
    account.emulator.clear_faults()
    assert account.provision() == "No changes.\n"


def test_a_run_that_was_interrupted_is_finished_by_the_next(
    account: Account, emulator: EmulatorProcess
) -> None:
    """The line is cut by the API's budget: a refusal that would outlast the run's patience."""
    emulator.faults({"route": "create_consumer", "kind": "429", "retry_after": 3600})

    done = account.run()

    assert done.returncode == 1
    assert "slow down" in done.stderr
    assert "(1 of 10 done; run it again)" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(account.queues()) == [DEAD]
    emulator.clear_faults()
    assert "Plan: 9 to add, 0 to change." in account.provision()
    assert account.provision() == "No changes.\n"


# --- who consumes the queue


def test_a_queue_that_a_worker_consumes_is_left_alone_in_pull_mode(account: Account) -> None:
    account.provision()
    worker = {"type": "worker", "script_name": "cutmv-processor"}
    account.set_consumer(QUEUE, worker)
    before = account.consumer(QUEUE)

    done = account.run()

    assert done.returncode == 1
    line = f"npx wrangler queues consumer worker remove {QUEUE} cutmv-processor"
    assert [each for each in done.stdout.splitlines() if line in each]
    assert account.consumer(QUEUE) == before


def test_in_push_mode_a_missing_worker_is_told_of(account: Account) -> None:
    output = account.provision(**PUSH)

    assert "npm run deploy" in output
    assert account.queues()[QUEUE]["consumers"] == []
    assert account.consumer(DEAD)["type"] == "http_pull"


def test_in_push_mode_the_queue_of_long_steps_is_pulled(account: Account) -> None:
    account.provision(**PUSH)

    assert set(account.queues()) == {QUEUE, DEAD, LONG, f"{LONG}-dead"}
    long = account.consumer(LONG)
    assert (long["type"], long["dead_letter_queue"]) == ("http_pull", f"{LONG}-dead")


def test_in_push_mode_the_workers_consumer_is_mended_and_stays_its(account: Account) -> None:
    account.provision(**PUSH)
    drifted = {"batch_size": 10, "max_retries": 3, "max_wait_time_ms": 5000, "max_concurrency": 9}
    account.set_consumer(
        QUEUE, {"type": "worker", "script_name": "cutmv-processor", "settings": drifted}
    )

    output = account.provision(**PUSH)

    for line in (
        "batch_size: 10 → 1",
        "max_concurrency: 9 → none",
        "max_retries: 3 → 100",
        "max_wait_time_ms: 5000 → 0",
    ):
        assert f"    {line}\n" in output
    consumer = account.consumer(QUEUE)
    assert consumer["script_name"] == "cutmv-processor"
    assert consumer["settings"] == {"retry_delay": 0, **PUSH_CONSUMER}
    assert consumer["dead_letter_queue"] == DEAD
    assert account.provision(**PUSH) == "No changes.\n"


def test_in_push_mode_a_pull_consumer_is_left_alone(account: Account) -> None:
    account.provision()
    before = account.consumer(QUEUE)

    done = account.run(**PUSH)

    assert done.returncode == 1
    assert f"npx wrangler queues consumer http remove {QUEUE}" in done.stdout
    assert account.consumer(QUEUE) == before


def test_wrangler_deploys_the_consumer_that_provision_wants() -> None:
    config = tomllib.loads((Path(__file__).parents[3] / "wrangler.toml").read_text())
    for where in (config, config["env"]["production"]):
        (consumer,) = where["queues"]["consumers"]
        assert (consumer["queue"], consumer["dead_letter_queue"]) == (QUEUE, DEAD)
        assert {
            "batch_size": consumer["max_batch_size"],
            "max_concurrency": consumer.get("max_concurrency"),
            "max_wait_time_ms": consumer["max_batch_timeout"] * 1000,
            "max_retries": consumer["max_retries"],
        } == PUSH_CONSUMER


# --- the bucket


def test_rules_of_others_survive(account: Account) -> None:
    account.s3.create_bucket(Bucket=account.bucket)
    theirs = {
        "ID": "Default Multipart Abort Rule",
        "Filter": {"Prefix": ""},
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    account.s3.put_bucket_lifecycle_configuration(
        Bucket=account.bucket, LifecycleConfiguration={"Rules": [theirs]}
    )
    cors = {"ID": "blog", "AllowedOrigins": ["https://blog.example"], "AllowedMethods": ["PUT"]}
    account.s3.put_bucket_cors(Bucket=account.bucket, CORSConfiguration={"CORSRules": [cors]})

    account.provision()

    rules = account.lifecycle()
    assert len(rules) == 5
    assert rules[theirs["ID"]]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    found = {
        rule["ID"]: rule for rule in account.s3.get_bucket_cors(Bucket=account.bucket)["CORSRules"]
    }
    assert set(found) == {"blog", "cutmv"}
    assert found["blog"]["AllowedMethods"] == ["PUT"]


def test_the_drift_of_a_rule_is_mended(account: Account) -> None:
    account.provision()
    rules = account.lifecycle()
    rules["expire-celery-leases"]["Expiration"]["Days"] = 2
    rules["expire-results"]["Status"] = "Disabled"
    account.s3.put_bucket_lifecycle_configuration(
        Bucket=account.bucket, LifecycleConfiguration={"Rules": list(rules.values())}
    )

    output = account.provision()

    assert "    expire after days: 2 → 15\n" in output
    assert "    status: Disabled → Enabled\n" in output
    assert "Plan: 0 to add, 2 to change.\n" in output
    assert account.provision() == "No changes.\n"


def test_an_origin_is_added_to_those_allowed_before(account: Account) -> None:
    account.provision()

    done = account.run("--origin", "https://other.example")

    assert "~ CORS rule cutmv" in done.stdout
    (rule,) = account.s3.get_bucket_cors(Bucket=account.bucket)["CORSRules"]
    assert sorted(rule["AllowedOrigins"]) == ["https://cutmv.example.com", "https://other.example"]
    assert account.provision() == "No changes.\n"


def test_a_store_that_forgets_the_ids_of_cors_rules_is_no_reason_to_make_ours_again(
    account: Account,
) -> None:
    account.provision()
    (rule,) = account.s3.get_bucket_cors(Bucket=account.bucket)["CORSRules"]
    del rule["ID"]
    rule["MaxAgeSeconds"] = int(rule["MaxAgeSeconds"])
    account.s3.put_bucket_cors(Bucket=account.bucket, CORSConfiguration={"CORSRules": [rule]})

    assert account.provision() == "No changes.\n"
    account.run("--origin", "https://other.example")
    (rule,) = account.s3.get_bucket_cors(Bucket=account.bucket)["CORSRules"]
    assert len(rule["AllowedOrigins"]) == 2


def test_with_redis_for_the_ledger_no_rule_is_made_for_leases(account: Account) -> None:
    account.provision(REDIS_URL="redis://127.0.0.1:1/0")

    assert "expire-celery-leases" not in account.lifecycle()


def test_without_r2_the_bucket_is_skipped_and_why_is_said(account: Account) -> None:
    output = account.provision(**WITHOUT_R2)

    assert "- bucket: left alone, since R2_ACCESS_KEY_ID is not set" in output
    assert "- bucket celery-leases, for the lease ledger: left alone, since the API token" in output
    assert "Plan: 4 to add, 0 to change." in output


def test_a_token_that_opens_r2_makes_the_bucket_in_which_workers_find_the_ledger(
    account: Account, make_gate: Callable[[str, Refusal], Gate]
) -> None:
    gate = make_gate(account.env["R2_ENDPOINT_URL"], object_key)
    denied = account.run(**{**WITHOUT_R2, "R2_ENDPOINT_URL": gate.url})
    assert (denied.returncode, denied.stderr) == (0, "")
    assert "bucket celery-leases: R2 bucket 'celery-leases': can't create it" in denied.stdout
    away = account.provision(**{**WITHOUT_R2, "R2_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert "No changes." in away, "queues need no R2"
    assert "- bucket celery-leases, for the lease ledger: left alone, since R2 bucket" in away
    env = {**WITHOUT_R2, "R2_ENDPOINT_URL": account.env["R2_ENDPOINT_URL"]}
    try:
        first = account.provision(**env)
        assert [line for line in first.splitlines() if "lease" in line and "added" in line] == [
            "bucket celery-leases: added",
            "lifecycle rule expire-leases of celery-leases: added",
        ]
        assert account.provision(**env).endswith("No changes.\n")
        done = cutmv("doctor", "--json", **{**account.env, **env})
        (found,) = [
            each for each in json.loads(done.stdout)["findings"] if each["what"] == "lease ledger"
        ]
        assert found["found"].startswith("the R2 bucket celery-leases: it extends leases of 300 s")
        assert "Contents" not in account.s3.list_objects_v2(Bucket="celery-leases")
    finally:
        account.s3.delete_bucket(Bucket="celery-leases")


def test_with_r2_alone_the_bucket_is_made_and_the_queues_are_skipped(account: Account) -> None:
    output = account.provision(CLOUDFLARE_API_TOKEN="", WEBHOOK_URL="")

    assert "- queues: left alone, since the mode is eager" in output
    assert "CORS rule cutmv" in output
    assert "no origin is known to allow" in output
    assert account.queues() == {}


def test_a_key_that_may_not_administer_the_bucket_keeps_no_queue_from_being_made(
    account: Account, make_gate: Callable[[str, Refusal], Gate]
) -> None:
    account.s3.create_bucket(Bucket=account.bucket)
    gate = make_gate(account.env["R2_ENDPOINT_URL"], object_key)

    done = account.run(R2_ENDPOINT_URL=gate.url)

    assert (done.returncode, done.stderr) == (1, "")
    assert "Admin Read & Write" in done.stdout
    assert set(account.queues()) == {QUEUE, DEAD}


# --- what Cloudflare will not have


def test_a_plan_that_fixes_the_retention_gets_all_else(
    account: Account, make_gate: Callable[[str, Refusal], Gate]
) -> None:
    gate = make_gate(account.emulator.base_url, fixed_retention)

    done = account.run(CLOUDFLARE_API_BASE_URL=gate.url)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"queue {DEAD}: how long {DEAD} keeps messages stays as it is" in done.stdout
    assert account.consumer(QUEUE)["dead_letter_queue"] == DEAD
    again = account.run(CLOUDFLARE_API_BASE_URL=gate.url).stdout
    assert "Plan: 0 to add, 1 to change." in again


# --- what fails is one line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"CLOUDFLARE_API_TOKEN": "wr0ng"}, "refused the API token"),
        ({"CLOUDFLARE_API_BASE_URL": "http://127.0.0.1:9/client/v4"}, "gave no answer"),
        ({"CLOUDFLARE_EDGE_URL": "https://edge.example"}, "CLOUDFLARE_EDGE_KEYS"),
        ({"R2_SECRET_ACCESS_KEY": ""}, "R2_SECRET_ACCESS_KEY is not"),
        ({"R2_ENDPOINT_URL": "http://127.0.0.1:9"}, "check R2_ENDPOINT_URL"),
        (
            {"CLOUDFLARE_API_TOKEN": "", "R2_ACCESS_KEY_ID": "", "R2_SECRET_ACCESS_KEY": ""},
            "There is nothing to provision",
        ),
    ],
)
def test_what_fails_is_one_line_without_secrets(
    account: Account, env: dict[str, str], line: str
) -> None:
    done = account.run(**env)

    assert done.returncode == 1
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stdout + done.stderr
    assert "wr0ng" not in done.stdout + done.stderr
    assert account.writes() == {}


def test_a_token_that_may_only_read_shows_the_plan_and_changes_nothing(account: Account) -> None:
    reader = {"CLOUDFLARE_API_TOKEN": account.emulator.read_only_token}

    assert account.run("--dry-run", **reader).returncode == 0
    done = account.run(**reader)

    assert done.returncode == 1
    assert "it needs the permission Queues: Edit" in done.stderr
    assert account.queues() == {}


# --- R2's event notifications

INCOMING = {"CUTMV_INCOMING_PREFIX": "incoming/"}
EVENTS = "event_notifications"


def _notifications(account: Account) -> list[dict[str, Any]]:
    queue = queue_id(account.emulator, f"{QUEUE}-incoming")
    path = f"/event_notifications/r2/{account.bucket}/configuration/queues/{queue}"
    url = f"{account.emulator.base_url}/accounts/{account.emulator.account_id}{path}"
    headers = {"authorization": f"Bearer {account.emulator.api_token}"}
    return list(httpx.get(url, headers=headers).raise_for_status().json()["result"]["rules"])


def test_the_bucket_s_notifications_and_their_queue_are_made_once(account: Account) -> None:
    dry = account.run("--dry-run", **INCOMING).stdout
    assert f"+ event notifications of {account.bucket} to {QUEUE}-incoming" in dry
    assert "    actions: PutObject, CopyObject, CompleteMultipartUpload, DeleteObject" in dry
    assert account.queues() == {}

    made = account.provision(**INCOMING)

    assert f"event notifications of {account.bucket} to {QUEUE}-incoming: added" in made
    assert set(account.queues()) == {
        QUEUE,
        DEAD,
        f"{QUEUE}-incoming",
        f"{QUEUE}-incoming-dead",
    }
    assert account.consumer(f"{QUEUE}-incoming")["dead_letter_queue"] == f"{QUEUE}-incoming-dead"
    [rule] = _notifications(account)
    assert (rule["prefix"], rule["suffix"], len(rule["actions"])) == ("incoming/", "", 5)
    assert account.provision(**INCOMING) == "No changes.\n"


def test_a_token_that_may_not_set_notifications_gets_all_else(
    account: Account, make_gate: Callable[[str, Refusal], Gate]
) -> None:
    def no_r2(_method: str, path: str) -> tuple[int, str] | None:
        error = '{"code": 10000, "message": "Authentication error"}'
        answer = f'{{"success": false, "errors": [{error}], "result": null}}'
        return (403, answer) if EVENTS in path else None

    gate = make_gate(account.emulator.base_url, no_r2)
    denied = INCOMING | {"CLOUDFLARE_API_BASE_URL": gate.url}
    account.run(**denied)  # when the queue is there its rules are read

    done = account.run(**denied)

    assert done.returncode == 1
    [line] = [each for each in done.stdout.splitlines() if each.startswith("!")]
    assert "the API token may not read them" in line
    assert "give the API token the permission Workers R2 Storage: Edit" in line
    assert f"{QUEUE}-incoming" in account.queues()
    assert account.lifecycle()


@pytest.mark.slow
def test_a_token_that_may_only_read_notifications_is_told_the_permission(
    account: Account, make_gate: Callable[[str, Refusal], Gate]
) -> None:
    def reads(method: str, path: str) -> tuple[int, str] | None:
        error = '{"code": 10000, "message": "Authentication error"}'
        answer = f'{{"success": false, "errors": [{error}], "result": null}}'
        return (403, answer) if EVENTS in path and method == "PUT" else None

    gate = make_gate(account.emulator.base_url, reads)

    done = account.run(**INCOMING, CLOUDFLARE_API_BASE_URL=gate.url)

    assert done.returncode == 1
    assert "the permission Workers R2 Storage: Edit" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert account.lifecycle()


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{"prefix": "incoming/"}, {"prefix": ""}])
def test_another_rule_for_the_folder_is_enough_or_told_of(
    account: Account, rule: dict[str, str]
) -> None:
    account.provision(CUTMV_INCOMING_PREFIX="other")
    queue = queue_id(account.emulator, f"{QUEUE}-incoming")
    path = f"/event_notifications/r2/{account.bucket}/configuration/queues/{queue}"
    account.call("DELETE", path)
    puts = ["PutObject"]
    every = [*puts, "CopyObject", "CompleteMultipartUpload", "DeleteObject", "LifecycleDeletion"]
    account.call("PUT", path, {"rules": [rule | {"actions": puts if rule["prefix"] else every}]})

    done = account.run(**INCOMING)

    if rule["prefix"]:
        assert done.returncode == 1
        assert "there is a rule for incoming/ that tells of PutObject alone" in done.stdout
        assert "npx wrangler r2 bucket notification delete" in done.stdout
    else:
        assert (done.returncode, done.stdout) == (0, "No changes.\n")
