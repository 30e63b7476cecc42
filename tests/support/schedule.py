"""Which tests run beside each other, and which first, when pytest-xdist runs several at once.

Tests of a file run one after another in one process, since they share its servers. Files that take
long come first, so that none is left alone at the end; those whose tests share nothing dear are
split. Most tests wait for most of their time, so that more of them than there are cores go well.
"""

from __future__ import annotations

import zlib

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Files that take longest, in their order, each with the number of parts it is split into.
LONGEST = {
    "tests/integration/transport/test_faults.py": 4,
    "tests/integration/transport/test_load.py": 2,
    "tests/integration/transport/test_leaks.py": 3,
    "tests/integration/transport/test_fanout.py": 3,
    "tests/integration/worker/test_faults.py": 3,
    "tests/edge/test_celery.py": 2,
    "tests/edge/test_product.py": 2,
    "tests/integration/transport/test_leases.py": 4,
    "tests/integration/media/test_cut.py": 2,
    "tests/integration/worker/test_main_job.py": 1,
    "tests/integration/cli/test_cut.py": 1,
    "tests/integration/transport/test_semantics.py": 3,
    "tests/integration/transport/test_pools.py": 2,
    "tests/integration/worker/test_tasks.py": 2,
    "tests/integration/ops/test_provision.py": 1,
    "tests/e2e/test_web_page.py": 1,
    "tests/integration/test_wheel.py": 1,
    "tests/integration/transport/test_push.py": 2,
    "tests/integration/ops/test_doctor.py": 1,
    "tests/integration/transport/test_eta.py": 1,
    "tests/integration/cli/test_replay.py": 1,
    "tests/integration/dispatch/test_fallback.py": 1,
    "tests/edge/test_wake_up.py": 1,
    "tests/integration/dispatch/test_janitor.py": 1,
    "tests/integration/web/test_live.py": 1,
    "tests/integration/transport/test_claim_check.py": 2,
    "tests/integration/transport/test_worker.py": 2,
    "tests/integration/worker/test_step.py": 1,
    "tests/integration/transport/test_kombu.py": 1,
    "tests/integration/worker/test_r2.py": 1,
    "tests/integration/media/test_relay.py": 1,
    "tests/integration/emulator/test_api.py": 1,
    "tests/integration/cli/test_queues.py": 1,
}
#: Files split by the first parameter of their tests, whose module's servers depend on it.
BY_PARAMETER = {"tests/integration/transport/test_faults.py"}
#: Files that share the one Worker of a folder.
TOGETHER = {
    f"tests/edge/test_{name}.py": "tests/edge"
    for name in ("doctor", "hub", "publish", "push", "signature")
}


class LongestFirst(LoadScopeScheduling):
    """Gives out files, or their parts, in the order of the collection."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scope(nodeid: str) -> str:
    """The name of what runs in one process with this test, one after another."""
    file, _, name = nodeid.partition("::")
    parts = LONGEST.get(file, 1)
    if file in TOGETHER or parts == 1:
        return TOGETHER.get(file, file)
    function, _, parameters = name.partition("[")
    shared = parameters.split("-")[0] if file in BY_PARAMETER else function
    return f"{file}/{zlib.crc32(shared.encode()) % parts}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LongestFirst | None:
    """With `--dist loadfile`, have it our way."""
    return LongestFirst(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes longest; what is together stays so."""
    rank = {scope: number for number, scope in enumerate([*TOGETHER.values(), *LONGEST])}

    def place(item: pytest.Item) -> int:
        file = item.nodeid.split("::")[0]
        return rank.get(TOGETHER.get(file, file), len(rank))

    items.sort(key=place)
