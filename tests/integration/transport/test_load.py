"""Many tasks at once, with answers that get lost: none is lost, and none is run twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from cutmv.config import Limits
from cutmv.jobs import JobStore, State
from cutmv.jobs.request import JobRequest, plan_job
from tests.support.emulator import EmulatorProcess
from tests.support.jobs import add_upload
from tests.support.processes import slowness
from tests.support.transport import make_site, wait_until

#: Threads that publish at the same time.
PRODUCERS = 16
#: Seconds after which a message whose pull got lost is delivered again; and a lease that outlasts
#: all of a test where none is lost.
LEASE_S, LONG_LEASE_S = 5, 300
#: Messages that a worker takes ahead, for each of its two processes.
PREFETCH = "50"
#: The calls whose answers get lost; settings and lists are few, and not the point. A lone message
#: goes by `publish`, which sixteen threads leave no time for.
ROUTES = ("batch", "pull", "ack", "publish")

#: Calls that do not count towards the limit of calls.
FREE = ("pull", "ack")


def steps_for(store: JobStore, count: int) -> list[str]:
    """The ids of this many new steps; a task of each is to run once."""
    upload = add_upload(store)
    ids: list[str] = []
    while len(ids) < count:
        clips = tuple(f"{n}-{n + 1}" for n in range(min(20, count - len(ids))))
        job = store.add_job(plan_job(upload, JobRequest(upload_id=upload.id, clips=clips)))
        ids += [step.id for step in job.steps]
    return ids


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("tasks", "lost_answers", "rate_limit"),
    [(10_000, 0.05, False), (1_000, 0.0, True)],
    ids=["ten thousand with lost answers", "a thousand within the rate limit"],
)
def test_every_task_runs_once(
    make_emulator: Callable[..., EmulatorProcess],
    tmp_path: Path,
    tasks: int,
    lost_answers: float,
    rate_limit: bool,
) -> None:
    emulator = make_emulator(rate_limit=rate_limit)
    lease_s = LEASE_S if lost_answers else LONG_LEASE_S
    options = {"visibility_timeout": lease_s} | ({} if rate_limit else {"rate_limit": 0})
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with (
        make_site(emulator, tmp_path) as site,
        contextlib.closing(JobStore(url, Limits(waiting_steps=tasks))) as store,
    ):
        ids = steps_for(store, tasks)
        env = {"TRANSPORT_STORE": url, "TRANSPORT_PREFETCH": PREFETCH}
        for _ in range(2):
            site.ready(site.worker(env=env, **options))
        emulator.faults(
            *(
                {"route": route, "kind": "drop_after", "probability": lost_answers, "seed": seed}
                for seed, route in enumerate(ROUTES)
                if lost_answers
            )
        )
        site.send_each("once", ids, PRODUCERS, **options)
        wait_until(
            lambda: not sum(site.backlog().values()),
            180 * slowness(),
            "every message is acked",
        )
        # A copy may be absorbed and acked while the first is at its end.
        wait_until(lambda: not unfinished(store), 30, "every step is done")
        faults, stats = emulator.faults_in_force(), emulator.stats()
        runs, absorbed = site.notes("run"), site.notes("absorbed")

        # None lost, none twice: by what the tasks noted, and by what the store keeps.
        assert sorted(note["step"] for note in runs) == sorted(ids)
        assert unfinished(store) == []
        assert stats["acked"] == stats["published"]
        assert len({note["pid"] for note in runs}) == 4
        print(f"{len(absorbed)} duplicates absorbed; {stats}; {faults}")
        if lost_answers:
            assert all(rule["fired"] for rule in faults[:3])
            assert stats["published"] > tasks
            # An absorbed one is a second copy, of a publish that was sent again, or a redelivery.
            # The transport removes one whose first is done here, and whose ack is on its way.
            twins = stats["published"] - tasks
            assert len(absorbed) <= twins + stats["redeliveries"]
        else:
            assert absorbed == []
            assert stats["published"] == stats["deliveries"] == tasks
            assert stats["refused"] == 0
            metered = {route: c for route, c in stats["calls"].items() if route not in FREE}
            assert sum(sum(counts.values()) for counts in metered.values()) <= 1_200


def unfinished(store: JobStore) -> list[tuple[State, int]]:
    """State and attempts of every step but those that were done at once."""
    return [step for step in all_steps(store) if step != (State.DONE, 1)]


def all_steps(store: JobStore) -> list[tuple[State, int]]:
    """State and attempts of every step."""
    page, found = store.jobs(100), []
    while page:
        found += [(step.state, step.attempts) for job in page for step in job.steps]
        page = store.jobs(100, before=page[-1].created_at)
    return found
