"""What `celery inspect stats` shows of the transport."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cutmv.config import Settings
from cutmv.ops.checks import workers
from cutmv.ops.deployment import options_of
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.transport import CloudflareSite, make_site, wait_until


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


def stats(site: CloudflareSite) -> dict[str, Any]:
    """What the one worker of a site tells."""
    code = (
        f"import json; from {site.app} import app\n"
        "print(json.dumps(app.control.inspect(timeout=20, limit=1).stats()))"
    )
    told = json.loads(run_python("-c", code, env=site.env(), check=True, timeout=60).stdout)
    [of_worker] = told.values()
    return dict(of_worker)


@pytest.mark.parametrize(
    "pool", ["prefork", pytest.param("gevent", marks=pytest.mark.slow), "threads"]
)
def test_a_worker_tells_how_its_threads_are(site: CloudflareSite, pool: str) -> None:
    site.ready(site.worker("-P", pool))
    told = stats(site)
    assert told["cloudflare"]["threads"] | {"running": 0} == {
        "well": True, "running": 0, "errors": 0, "troubled": {},
    }  # fmt: skip
    assert told["cloudflare"]["threads"]["running"] >= 3  # poller, acks, the command's queue
    assert site.emulator.api_token not in json.dumps(told["cloudflare"])


def test_a_worker_tells_which_ledger_and_lease_it_has(
    site: CloudflareSite, redis_url: str, tmp_path: Path
) -> None:
    options = {"visibility_timeout": 4}
    site.send("hold", "held", str(tmp_path / "go"))
    worker = site.ready(site.worker(env={"TRANSPORT_RESULTS": redis_url}, **options))
    told = wait_until(
        lambda: (leases := stats(site)["cloudflare"]["leases"])["extended"] and leases, 30
    )
    assert (told["ledger"], told["seconds"]) == ("the result backend's Redis", 4)
    assert {"acks_waiting", "done_here", "records_waiting"} < told.keys()
    assert redis_url not in worker.log().split("ready.")[1]
    (tmp_path / "go").touch()


@pytest.mark.slow
def test_the_doctor_asks_the_workers_how_their_threads_are(
    site: CloudflareSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.emulator.env().items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env({**site.emulator.env(), "CUTMV_DATA_DIR": str(site.directory)})
    options = options_of(settings)
    assert [each.found for each in workers.threads(settings, options)] == ["no worker answers"]
    site.ready(site.worker())

    def marks() -> set[tuple[str, str]]:
        return {(each.what, each.mark) for each in workers.threads(settings, options)}

    wait_until(lambda: ("workers' threads", "ok") in marks())
    assert ("workers' lease ledger", "ok") in marks()
