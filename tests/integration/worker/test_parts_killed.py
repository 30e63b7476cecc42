"""A worker that is lost in the middle of a shared render costs one part of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cutmv.jobs import Costs, JobStore, Parts, State, Step
from cutmv.media import Work
from tests.support.media import duration_s, frame_number, make_sample, read_frames
from tests.support.processes import wait_for
from tests.support.stack import Stack, check_done_once, outputs

SIZE = (640, 360)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["redis", "cloudflare"])
def test_a_worker_killed_in_a_part_costs_this_part(
    mode: str, make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    codec = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "24", "-bf", "2")
    video = make_sample(tmp_path / "song.mp4", seconds=12.0, size=SIZE, codec=codec)
    stack = make_stack(mode)
    workers = [stack.start_worker("-c", "1"), stack.start_worker("-c", "1")]
    stack.start_web()
    with closing(JobStore(f"sqlite:///{stack.folder / 'data' / 'cutmv.db'}")) as store:
        for _ in range(5):  # such slow workers that twelve seconds are shared
            Costs(store).note(Work("h264", 1.0), 8.0)
        upload = stack.upload(video)
        job = stack.submit(upload_id=upload["id"], clips=["0.5-11.5"], aspects=["9:16"])
        step_id = job["steps"][0]["id"]

        def in_a_part() -> Step | None:
            return next(
                (
                    part
                    for part in Parts(store).of(step_id)
                    if part.state is State.RUNNING
                    and 5 < part.percent < 60
                    and f"{part.id} of job" in workers[0].log
                ),
                None,
            )

        lost = wait_for(in_a_part, 120, f"a worker is in a part\n{stack.logs}")
        assert lost
        workers[0].kill()

    percents = []

    def ended() -> bool:
        now = stack.job(job["id"])
        percents.append(now["steps"][0]["percent"])
        return now["state"] in ("done", "failed")

    wait_for(ended, 240, f"the job ends\n{stack.logs}")
    assert percents == sorted(percents)
    starts = Counter(re.findall(rf"step ({step_id}-\d+) of job \w+: attempt", stack.logs))
    assert len(starts) > 3
    assert starts == {part: 2 if part == lost.id else 1 for part in starts}
    wait_for(lambda: len(outputs(stack)) == 1, 30, "the parts are deleted")
    done = stack.job(job["id"])
    check_done_once(stack, done)
    made = stack.download(done["steps"][0], tmp_path)
    numbers = [frame_number(frame, SIZE) for frame in read_frames(made)]
    assert numbers == list(range(15, 345))
    for stream in ("v:0", "a:0"):
        assert duration_s(made, stream) == pytest.approx(11.0, abs=0.001)
