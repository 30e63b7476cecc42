"""The three stores of the lease ledger keep the same promises."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from cutmv.transports.cloudflare.errors import ConfigurationError, LedgerUnavailable
from cutmv.transports.cloudflare.leases import ledger as ledgers
from cutmv.transports.cloudflare.leases.ledger import Entry, Ledger, open_ledger
from cutmv.transports.cloudflare.messages import object_keys
from cutmv.transports.cloudflare.options import Options
from tests.support.s3 import BUCKET, KEY_ID, SECRET
from tests.support.transport import wait_until

ACCOUNT = "0" * 32


@pytest.fixture(params=["file", "redis", "r2"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    environ: dict[str, str] = {}
    if request.param == "file":
        url = f"file://{tmp_path}/a folder/ledger".replace(" ", "%20")
    elif request.param == "redis":
        url = request.getfixturevalue("redis_url")
    else:
        url = f"r2://{BUCKET}/leases/{uuid4().hex}"
        endpoint = request.getfixturevalue("s3_url")
        environ = {
            "R2_ACCESS_KEY_ID": KEY_ID,
            "R2_SECRET_ACCESS_KEY": SECRET,
            "R2_ENDPOINT_URL": endpoint,
        }
    with contextlib.closing(open_ledger(url, ACCOUNT, environ)) as ledger:
        yield ledger


def test_a_record_is_replaced_only_by_who_has_seen_it(ledger: Ledger) -> None:
    assert ledger.read("m") is None
    assert ledger.write("m", Entry("a", "held", 60), "never-seen") is None
    first = ledger.write("m", Entry("a", "held", 60), None)
    assert first is not None
    assert ledger.write("m", Entry("b", "held", 60), None) is None

    second = ledger.write("m", Entry("a", "held", 60), first)

    assert second not in (None, first)
    assert ledger.write("m", Entry("b", "held", 60), first) is None
    record = ledger.read("m")
    assert record is not None
    assert (record.entry.owner, record.entry.state, record.version) == ("a", "held", second)
    assert 50 < record.remaining <= 60
    assert ledger.write("m", Entry("a", "done", 60), second)
    done = ledger.read("m")
    assert done is not None
    assert (done.entry.state, done.remaining) == ("done", 0)


def test_a_record_that_is_not_renewed_ends(ledger: Ledger) -> None:
    ledger.write("m", Entry("a", "held", 1.5), None)

    def ended() -> bool:
        record = ledger.read("m")
        return record is not None and record.remaining == 0

    assert not ended()
    wait_until(ended, 10, "its time is over")


def test_of_many_who_want_a_message_one_gets_it(ledger: Ledger) -> None:
    version = ledger.write("m", Entry("a", "free", 60), None)

    with ThreadPoolExecutor(8) as pool:
        won = list(
            pool.map(lambda n: ledger.write("m", Entry(str(n), "held", 60), version), range(8))
        )

    assert sum(each is not None for each in won) == 1


def test_messages_do_not_meet_whatever_their_ids_hold(ledger: Ledger) -> None:
    ledger.write("../a/b c\n", Entry("a", "held", 60), None)

    assert ledger.read("..") is None
    assert ledger.read("../a/b c") is None
    record = ledger.read("../a/b c\n")
    assert record is not None
    assert record.entry.owner == "a"


def test_a_directory_s_old_records_are_removed(tmp_path: Path) -> None:
    ledger = open_ledger(f"file://{tmp_path}", ACCOUNT, {})
    ledger.write("old", Entry("a", "done", 60), None)
    (old,) = (tmp_path / object_keys.LEASES).iterdir()
    long_ago = old.stat().st_mtime - ledgers.RECORD_RETENTION - 2 * 86_400
    os.utime(old, (long_ago, long_ago))

    open_ledger(f"file://{tmp_path}", ACCOUNT, {}).write("new", Entry("a", "held", 60), None)

    assert not old.exists()
    assert ledger.read("new")


@pytest.mark.parametrize(
    "url",
    ["file:relative", "file://host/x", "/plain", "http://:hunter2@x", "r2://", "redis://", "r2:b"],
)
def test_what_is_no_ledger_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="lease_ledger must be") as caught:
        Options(lease_ledger=url)
    assert "hunter2" not in str(caught.value)


def test_the_password_of_a_ledger_is_not_shown() -> None:
    options = Options(lease_ledger="redis://:hunter2@127.0.0.1:1/0")
    assert "hunter2" not in repr(options)
    ledger = open_ledger(options.lease_ledger, ACCOUNT, {})
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.read("m")
    assert "hunter2" not in str(caught.value)


def test_a_ledger_in_r2_says_which_keys_it_misses() -> None:
    with pytest.raises(ConfigurationError, match="R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY"):
        open_ledger("r2://bucket/prefix", ACCOUNT, {})


def test_a_bucket_that_is_not_there_is_no_free_message(s3_url: str) -> None:
    environ = {
        "R2_ACCESS_KEY_ID": KEY_ID,
        "R2_SECRET_ACCESS_KEY": SECRET,
        "R2_ENDPOINT_URL": s3_url,
    }
    ledger = open_ledger("r2://no-such-bucket", ACCOUNT, environ)
    with pytest.raises(LedgerUnavailable, match="NoSuchBucket"):
        ledger.read("m")


def test_a_directory_that_can_t_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file/ledger, which can't be made"):
        open_ledger(f"file://{tmp_path}/file/ledger", ACCOUNT, {})
