"""A worker that is lost in the middle of a shared render costs one part of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import pytest

from cutmv.config import Settings
from cutmv.jobs import Costs, Parts, State, Step, job_prefix
from cutmv.media import Clip, OutputSpec, Work, plan, probe, render
from cutmv.services import Services
from tests.support.media import duration_s, frame_number, frame_times, make_sample, read_frames
from tests.support.processes import wait_for
from tests.support.stack import Stack, on_r2

SIZE = (640, 360)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "in_r2"), [("redis", False), ("cloudflare", True)])
def test_a_worker_killed_in_a_part_costs_this_part(
    mode: str,
    in_r2: bool,
    make_stack: Callable[[str], Stack],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    codec = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "24", "-bf", "2")
    video = make_sample(tmp_path / "song.mp4", seconds=12.0, size=SIZE, codec=codec)
    stack = make_stack(mode)
    if in_r2:
        on_r2(stack, request.getfixturevalue("s3_url"))
    workers = [stack.start_worker("-c", "1"), stack.start_worker("-c", "1")]
    stack.start_web()
    services = Services.open(Settings.from_env(stack.env))
    with closing(services.store) as store:
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

        percents: list[float] = []
        parts: dict[str, Path] = {}

        def ended() -> bool:
            now = stack.job(job["id"])
            percents.append(now["steps"][0]["percent"])
            for key in kept(services, job["id"]):
                if key.rpartition("/")[2].startswith(f"{step_id}-") and key not in parts:
                    parts[key] = fetched(services, key, tmp_path)
            return now["state"] in ("done", "failed")

        wait_for(ended, 240, f"the job ends\n{stack.logs}")
        wait_for(lambda: len(kept(services, job["id"])) == 1, 30, "the parts are deleted")
    assert percents == sorted(percents)
    starts = Counter(re.findall(rf"step ({step_id}-\d+) of job \w+: attempt", stack.logs))
    assert len(starts) > 3
    assert starts == {part: 2 if part == lost.id else 1 for part in starts}
    done = stack.job(job["id"])
    assert (done["state"], done["error"]) == ("done", None), stack.logs
    made, whole = stack.download(done["steps"][0], tmp_path), tmp_path / "whole.mp4"
    planned = plan(
        probe(video),
        Clip(Fraction(1, 2), Fraction(23, 2)),
        OutputSpec("cutdown", "9:16", "crop"),
    )
    render(video, planned, whole, timeout_s=240)
    numbers = [[frame_number(each, SIZE) for each in read_frames(film)] for film in (made, whole)]
    assert numbers[0] == numbers[1] == list(range(15, 345))
    assert frame_times(made) == frame_times(whole)
    # The picture is that of the parts, bit for bit, and the sound that of one piece.
    assert len(parts) == len(starts)
    assert packets(made, 0) == [each for key in sorted(parts) for each in packets(parts[key], 0)]
    assert packets(made, 1) == packets(whole, 1)
    for stream in ("v:0", "a:0"):
        assert duration_s(made, stream) == duration_s(whole, stream)


def kept(services: Services, job_id: str) -> list[str]:
    """The keys of what is stored of a job."""
    return [each.key for each in services.storage.list(job_prefix(job_id))]


def fetched(services: Services, key: str, folder: Path) -> Path:
    """A stored object, as a file."""
    path = folder / key.replace("/", "-")
    with services.storage.open_range(key) as chunks, path.open("wb") as file:
        file.writelines(chunks)
    return path


def packets(path: Path, stream: int) -> list[bytes]:
    """What a stream of a film holds, bit for bit."""
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams[stream]) if packet.size]
