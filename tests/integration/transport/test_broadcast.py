"""Celery's broadcast routes: each worker gets the task, and publishers declare nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import HUB
from tests.support.transport import CloudflareSite, Site, wait_until

here = pytest.mark.parametrize("site", ["cloudflare", HUB], indirect=True)


@here
def test_a_broadcast_task_runs_on_each_worker_that_is_there(site: Site, tmp_path: Path) -> None:
    site.app = "tests.support.broadcast_app"
    first = site.ready(site.worker())
    second = site.ready(site.worker())
    site.send("reload", "both")
    assert workers(site, "reload", 2) == ["w0@test", "w1@test"]
    go = tmp_path / "go"
    site.send("late", "both", str(go))
    go.touch()
    assert workers(site, "late", 2) == ["w0@test", "w1@test"]
    site.send("record", "one")
    assert len(workers(site, "record", 1)) == 1

    second.kill()  # its queue is left behind, and must not keep others from theirs
    site.ready(site.worker())
    site.send("reload", "later")
    assert workers(site, "reload", 4) == ["w0@test", "w0@test", "w1@test", "w2@test"]
    first.term()
    assert first.child.wait(30) == 0
    assert len(site.notes("record")) == 1


@pytest.mark.parametrize("site", ["cloudflare"], indirect=True)
def test_a_broadcast_task_without_a_worker_is_dropped_and_fails_no_publisher(
    site: CloudflareSite,
) -> None:
    site.app = "tests.support.broadcast_app"
    site.send("reload", "nobody")  # RabbitMQ drops it, too
    assert site.emulator.stats()["messages"] == {}


def workers(site: Site, event: str, count: int) -> list[str]:
    """Wait for so many notes; return who wrote them."""
    wait_until(lambda: len(site.notes(event)) >= count, 30, f"{count} times {event}")
    return sorted(note["worker"] for note in site.notes(event))
