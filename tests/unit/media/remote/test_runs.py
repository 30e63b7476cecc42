"""Where a reader reads on and on."""

from __future__ import annotations

from cutmv.media.remote.runs import GAP_BYTES, MOST, Runs


def test_what_is_read_on_and_on_is_a_run() -> None:
    runs = Runs()
    assert runs.before(1000) == 0
    runs.read(1000, 1100)
    assert runs.before(1100) == 100
    runs.read(1100, 1300)
    assert runs.before(1300) == 300
    assert runs.before(1300 + GAP_BYTES) == 300 + GAP_BYTES
    assert runs.before(1301 + GAP_BYTES) == 0
    assert runs.before(999) == 0


def test_picture_and_sound_that_are_far_apart_are_two_runs() -> None:
    runs, far = Runs(), 10 * GAP_BYTES
    for step in range(5):
        runs.read(step * 100, step * 100 + 100)
        runs.read(far + step * 10, far + step * 10 + 10)
    assert (runs.before(500), runs.before(far + 50)) == (500, 50)


def test_runs_are_few() -> None:
    runs = Runs()
    for number in range(MOST + 1):
        runs.read(number * 10 * GAP_BYTES, number * 10 * GAP_BYTES + 1)
    assert runs.before(1) == 0
    assert runs.before(10 * GAP_BYTES + 1) == 1
