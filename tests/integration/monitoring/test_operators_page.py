"""The operators' page of real servers with real workers, in every mode; and its controls."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.flower import flower_of
from tests.support.fork_server import run_python
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.stack import Stack

QUEUE = "cutmv-processing"
#: Seconds for what is asked of Cloudflare's API once a minute.
ASKED_S = 150.0


def parts(stack: Stack) -> str:
    """The parts of the page, as text."""
    answer = httpx.get(f"{stack.url}/operators/parts", timeout=60.0)
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", answer.text)


def shows(stack: Stack, words: str) -> None:
    wait_for(lambda: re.search(words, parts(stack)), ASKED_S, f"{words!r}\n{stack.logs[-4000:]}")


def post(stack: Stack, path: str, **form: str) -> httpx.Response:
    return httpx.post(f"{stack.url}/operators/{path}", data=form, timeout=90.0)


def does(stack: Stack, path: str, **form: str) -> str:
    """Do something; returns what is said of it."""
    answer = post(stack, path, **form)
    assert answer.status_code == 303, answer.text
    return str(httpx.URL(answer.headers["location"]).params["done"])


def still(stack: Stack, tmp_path: Path) -> dict[str, Any]:
    """A job of one still."""
    video = tmp_path / "v.mp4"
    if not video.exists():
        make_sample(video, seconds=1.0, size=(160, 90))
    upload = stack.upload(video)
    return stack.submit(upload_id=upload["id"], clips=["0-0.5"], aspects=[], still=True)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["redis", "cloudflare"])
def test_a_paused_queue_waits_until_it_is_resumed(
    mode: str, make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack(mode)
    stack.start_worker()
    stack.start_web()
    shows(stack, rf'data-testid="queue" data-name="{QUEUE}".*1 worker takes from it')
    shows(stack, r'data-testid="worker" data-name="w1@.*0 of 2 busy.*Celery 5')

    assert does(stack, f"queues/{QUEUE}", do="pause") == "paused"

    shows(stack, "0 workers take from it" if mode == "redis" else "Paused: nobody gets")
    job = still(stack, tmp_path)
    shows(stack, "1 wait for their turn")
    assert stack.job(job["id"])["state"] == "queued"
    assert does(stack, f"queues/{QUEUE}", do="resume") == "resumed"
    assert stack.ended(job["id"])["state"] == "done"
    assert stack.web and f"operator you: pause of queue {QUEUE}: paused" in stack.web.log


@pytest.mark.slow
def test_a_drained_worker_takes_nothing_and_then_again(
    make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack("redis")
    stack.start_worker()
    stack.start_web()
    shows(stack, f"Takes from {QUEUE}")
    name = re.search(r'data-testid="worker" data-name="([^"]+)"', parts(stack))
    assert name

    assert does(stack, f"workers/{name[1]}", do="drain") == "drained"

    shows(stack, "Takes from no queue: it is drained")
    job = still(stack, tmp_path)
    shows(stack, "1 wait for their turn")
    assert does(stack, f"workers/{name[1]}", do="refill") == "refilled"
    assert stack.ended(job["id"])["state"] == "done"
    assert post(stack, "workers/nobody@nowhere", do="drain").status_code == 404


def test_dead_letters_are_replayed_and_deleted(
    make_stack: Callable[[str], Stack], emulator: EmulatorProcess
) -> None:
    stack = make_stack("cloudflare")
    code = (
        "from cutmv.app import app;"
        "from cutmv.worker import cut;"
        "channel = app.connection_for_write().default_channel;"
        f"channel.queue_declare('{QUEUE}');"
        f"[cut.apply_async((name,), task_id=name, queue='{QUEUE}-dead') for name in ('a1', 'b2')]"
    )
    run_python("-c", code, env=stack.env, check=True)
    stack.start_web()
    shows(stack, r"2 dead letters.*cutmv.cut.*<code>")
    ref = re.search(
        r'name="ref" value="([^"]+)">\s*<input[^>]*name="task_id" value="b2"', parts(stack)
    )
    assert ref

    assert does(stack, f"queues/{QUEUE}-dead", do="replay", task_id="a1") == "replayed"
    assert does(stack, f"queues/{QUEUE}-dead", do="delete", ref=ref[1], task_id="b2") == "deleted"

    shows(stack, "0 dead letters")
    shows(stack, rf'data-name="{QUEUE}".*?1 message')
    assert does(stack, f"queues/{QUEUE}-dead", do="replay-all") == "none"
    assert post(stack, "queues/another-dead", do="replay-all").status_code == 404


@pytest.mark.slow
def test_a_failed_output_shows_its_traceback_and_is_made_again(
    make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack("eager")
    stack.start_web()
    shows(stack, "There is no broker.*does not apply")
    upload = stack.upload(make_sample(tmp_path / "v.mp4", seconds=1.0, size=(160, 90)))
    [stored] = (each for each in (stack.folder / "data/files/uploads").rglob("*") if each.is_file())
    kept = stored.rename(tmp_path / "kept")
    wanted = {"clips": ["0-0.5"], "aspects": [], "still": True}
    job = stack.submit(upload_id=upload["id"], **wanted)
    assert stack.ended(job["id"])["state"] == "failed"
    step = job["steps"][0]["id"]
    shows(stack, rf'data-testid="failed" data-id="{step}".*Traceback \(most recent call last\)')
    kept.rename(stored)

    assert does(stack, f"steps/{step}", do="retry") == "retried"

    assert stack.ended(job["id"])["state"] == "done"
    assert post(stack, f"steps/{step}", do="retry").status_code == 409
    assert post(stack, f"steps/{step}", do="dance").status_code == 422
    assert post(stack, "steps/none", do="retry").status_code == 404


@pytest.mark.slow
def test_one_running_output_is_stopped(make_stack: Callable[[str], Stack], tmp_path: Path) -> None:
    stack = make_stack("redis")
    stack.start_worker()
    stack.start_web()
    video = make_sample(tmp_path / "v.mp4", seconds=60.0, size=(1280, 720))
    upload = stack.upload(video)
    job = stack.submit(upload_id=upload["id"], clips=["0-60"], aspects=["9:16"])
    step = job["steps"][0]["id"]
    shows(stack, rf'data-testid="live" data-id="{step}".*by w1@')

    assert does(stack, f"steps/{step}", do="revoke") == "revoked"

    assert stack.ended(job["id"])["state"] == "cancelled"
    shows(stack, "0 of 2 busy")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["redis", pytest.param("cloudflare", marks=pytest.mark.slow)])
def test_flower_works_beside_the_page(
    mode: str, make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack(mode)
    stack.start_worker()
    stack.start_web()
    with flower_of("cutmv", stack.env, tmp_path) as get:
        wait_for(lambda: get("workers?refresh=1"), 120.0, "Flower knows the worker")
        shows(stack, r'data-testid="worker" data-name="w1@')
        job = still(stack, tmp_path)
        assert stack.ended(job["id"])["state"] == "done"

        def seen() -> bool:
            tasks = get("tasks").values()
            return any(t["name"] == "cutmv.cut" and t["state"] == "SUCCESS" for t in tasks)

        wait_for(seen, 120.0, "Flower shows what became of the task")
        shows(stack, "0 of 2 busy")


def test_a_page_of_another_site_does_nothing(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("eager")
    stack.start_web()

    answer = httpx.post(
        f"{stack.url}/operators/queues/{QUEUE}",
        data={"do": "pause"},
        headers={"Sec-Fetch-Site": "cross-site"},
    )

    assert answer.status_code == 403


@pytest.mark.slow
def test_the_page_answers_while_nothing_else_does(
    make_stack: Callable[[str], Stack], emulator: EmulatorProcess
) -> None:
    stack = make_stack("cloudflare")
    stack.start_web()
    emulator.faults({"route": "*", "kind": "hang"})

    first = httpx.get(f"{stack.url}/operators", timeout=30.0)

    assert first.status_code == 200
    assert "It is being asked" in first.text
    assert first.elapsed.total_seconds() < 15
    emulator.faults({"route": "*", "kind": "500"})
    shows(stack, "It can.t be reached")
    emulator.clear_faults()
