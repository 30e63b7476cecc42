"""Limits that both ends of a wire must agree on: the Worker's, the transport's, the emulator's.

The Worker's are in edge/src/limits.ts, whose values are numbers or products of numbers.
"""

from __future__ import annotations

import math
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
TRANSPORT = "cutmv.transports.cloudflare"
RESULTS = "cutmv.backends.cloudflare"
EMULATOR = "cutmv.emulator.model"
#: What provision wants of the Worker's consumer, as a dictionary of the API's names.
PUSHED = ("cutmv.ops.queue_plan", "PUSH_CONSUMER")

#: The Worker's limit, and where Python has the same one.
EQUAL = [
    ("MAX_MESSAGE_BYTES", f"{TRANSPORT}.messages.limits", "MAX_MESSAGE"),
    ("MAX_MESSAGE_BYTES", EMULATOR, "MAX_MESSAGE_BYTES"),
    ("METADATA_BYTES", f"{TRANSPORT}.messages.limits", "METADATA"),
    ("METADATA_BYTES", EMULATOR, "METADATA_BYTES"),
    ("MAX_BATCH_BYTES", f"{TRANSPORT}.messages.limits", "MAX_BATCH"),
    ("MAX_BATCH_BYTES", EMULATOR, "MAX_BATCH_BYTES"),
    ("MAX_BATCH_MESSAGES", f"{TRANSPORT}.messages.limits", "MAX_CALL"),
    ("MAX_BATCH_MESSAGES", EMULATOR, "MAX_BATCH_COUNT"),
    ("MAX_DELAY_S", f"{TRANSPORT}.messages.limits", "MAX_DELAY"),
    ("MAX_DELAY_S", EMULATOR, "MAX_DELAY"),
    ("TOLERANCE_S", f"{TRANSPORT}.edge.signature", "TOLERANCE"),
    ("MIN_KEY_BYTES", f"{TRANSPORT}.edge.signature", "MIN_KEY_BYTES"),
    ("MIN_KEY_BYTES", "cutmv.config.secret", "LONG_KEY_BYTES"),
    ("MAX_WEBHOOK_ID", f"{TRANSPORT}.edge.signature", "MAX_ID"),
    ("MAX_SIGNATURES", f"{TRANSPORT}.edge.signature", "MAX_SIGNATURES"),
    ("ACCEPTED_KEEP_S", f"{TRANSPORT}.leases.ledger", "REQUEST_RETENTION"),
    ("HEARTBEAT_S", f"{TRANSPORT}.edge.push_server", "HEARTBEAT"),
    ("MAX_RESULT_OPS", f"{RESULTS}.calls", "MAX_OPS"),
    ("MAX_LARGE_BYTES", f"{RESULTS}.values", "LARGEST"),
    ("MAX_KEEP_S", f"{RESULTS}.backend", "MAX_KEEP"),
    ("WALL_S", f"{TRANSPORT}.messages.limits", "MAX_PUSHED"),
    ("WALL_S", f"{TRANSPORT}.edge.push_protocol", "WALL"),
]

#: The smaller limit of one end, and the larger one of the other: Worker's names have no module.
AT_MOST = [
    # What the transport sends to the hub, the hub takes.
    ((f"{TRANSPORT}.edge.hub_protocol", "MAX_SENT"), ("", "MAX_FRAME_BYTES")),
    # What the hub has on its way to a client, the client takes, even as one frame.
    (("", "MAX_UNREPORTED_BYTES"), (f"{TRANSPORT}.edge.hub_protocol", "MAX_FRAME")),
    # A client reports frames before the hub closes its socket.
    ((f"{TRANSPORT}.edge.hub_client", "REPORT_FRAMES"), ("", "MAX_UNREPORTED")),
    # A message that a client sends late finds the bindings of a client that was away as long.
    ((f"{TRANSPORT}.edge.hub_client", "LATE_BY_MOST"), ("", "GRACE_S")),
    # What the Worker reads of messages, the push server reads of the batch that they become.
    (("", "MAX_BODY_BYTES"), (f"{TRANSPORT}.edge.push_gate", "MAX_BODY")),
    # What a call on results holds, the Worker reads.
    ((f"{RESULTS}.calls", "MAX_BYTES"), ("", "MAX_BODY_BYTES")),
    # Who waits says so again before the Worker forgets it.
    ((f"{RESULTS}.consumer", "READ_EVERY"), ("", "WATCH_S")),
    # A message is sent anew before its retries run out.
    (("", "ANEW_AFTER"), (EMULATOR, "MAX_RETRIES")),
    # A turn ends before the Worker takes silence for a broken connection, should a proxy keep the
    # response until it is whole.
    ((f"{TRANSPORT}.edge.push_server", "TURN"), ("", "IDLE_S")),
]


def worker_limits() -> dict[str, int]:
    source = (TREE / "edge" / "src" / "limits.ts").read_text()
    limits: dict[str, int] = {}
    for name, value in re.findall(r"^export const (\w+) = (.+);$", source, re.MULTILINE):
        factors = [part.strip().replace("_", "") for part in value.split("*")]
        numbers = [
            int(factor) if factor.isdigit() else limits[shared.strip()]
            for factor, shared in zip(factors, value.split("*"), strict=True)
        ]
        limits[name] = math.prod(numbers)
    assert len(limits) == source.count("export const"), "a value is no number or product"
    return limits


def limit(module: str, name: str) -> float:
    value = getattr(import_module(module), name) if module else worker_limits()[name]
    assert isinstance(value, int | float)
    return value


@pytest.mark.parametrize(("shared", "module", "name"), EQUAL)
def test_both_ends_have_the_same_limit(shared: str, module: str, name: str) -> None:
    assert limit(module, name) == worker_limits()[shared]


@pytest.mark.parametrize(("smaller", "larger"), AT_MOST)
def test_one_end_asks_no_more_than_the_other_allows(
    smaller: tuple[str, str], larger: tuple[str, str]
) -> None:
    assert limit(*smaller) <= limit(*larger)


def test_a_value_that_is_part_of_an_operation_fits_however_it_is_written() -> None:
    small = limit(f"{RESULTS}.values", "SMALL")
    assert 1 + math.ceil(small / 3) * 4 <= worker_limits()["MAX_VALUE"]
    assert 2 * small < limit(f"{RESULTS}.calls", "MAX_BYTES"), "JSON escapes quotes"


def test_the_worker_waits_for_several_heartbeats() -> None:
    limits = worker_limits()
    assert limits["IDLE_S"] >= 3 * limits["HEARTBEAT_S"]


def test_turns_of_waiting_fill_the_worker_s_time_before_its_requests_are_used_up() -> None:
    limits = worker_limits()
    assert limits["WALL_S"] / limit(f"{TRANSPORT}.edge.push_server", "TURN") < limits["MAX_POSTS"]
    assert limits["MAX_POSTS"] < 50  # of the free plan


def test_the_worker_gives_up_before_its_platform_does() -> None:
    assert worker_limits()["WALL_S"] < 900


def test_every_limit_is_used_and_written_once() -> None:
    sources = {path.name: path.read_text() for path in (TREE / "edge" / "src").glob("*.ts")}
    others = "\n".join(text for name, text in sources.items() if name != "limits.ts")
    unused = [name for name in worker_limits() if not re.search(rf"\b{name}\b", others)]
    assert unused == ["HEARTBEAT_S"]  # the push server's, from which IDLE_S is derived
    assert not re.findall(r"^(?:export )?const [A-Z_]+ = [\d_]+", others, re.MULTILINE)


def test_wrangler_s_consumer_is_the_one_that_provision_wants() -> None:
    module, name = PUSHED
    wanted = getattr(import_module(module), name)
    config = tomllib.loads((TREE / "wrangler.toml").read_text())
    for consumer in config["queues"]["consumers"]:
        assert consumer["max_batch_size"] == wanted["batch_size"]
        assert consumer["max_batch_timeout"] * 1000 == wanted["max_wait_time_ms"]
        assert consumer["max_retries"] == wanted["max_retries"]
        assert worker_limits()["ANEW_AFTER"] < consumer["max_retries"]
