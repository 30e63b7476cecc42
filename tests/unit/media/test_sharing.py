"""What an encoding costs, and the parts in which it is made."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutmv.media import Clip, CostModel, OutputSpec, RenderPlan, Work, plan, time_limit_s, work_of
from cutmv.media.engine.protocol import Output, Part, Request
from cutmv.media.plan import LIMIT_BASE_S
from cutmv.media.sharing.costs import LIMIT_TIMES
from cutmv.media.sharing.groups import groups
from cutmv.media.sharing.parts import (
    MOST_PARTS,
    SHARED_FROM_S,
    divide,
    part_count,
    wanted_starts,
)
from tests.support.jobs import video_info

SHAPE = OutputSpec("cutdown", "9:16", "crop")
INFO = video_info(600.0)


def planned(spec: OutputSpec = SHAPE, start: str = "0", end: str = "600") -> RenderPlan:
    return plan(INFO, Clip(Fraction(start), Fraction(end)), spec)


def entries(every_s: float = 4.0) -> list[Fraction]:
    return [Fraction(round(number * every_s * 30), 30) for number in range(int(600 / every_s))]


def test_what_takes_long_is_divided_into_an_even_number_of_parts() -> None:
    assert part_count(planned(), SHARED_FROM_S - 1) == 0
    assert part_count(planned(), 46) == 4
    assert part_count(planned(), 300) == 20
    assert part_count(planned(), 1e6) == MOST_PARTS


@pytest.mark.parametrize(
    "spec",
    [
        OutputSpec("cutdown", "source", "crop"),  # its packets are copied
        OutputSpec("gif", "source", "crop"),
        OutputSpec("still", "source", "crop"),
    ],
)
def test_what_is_not_encoded_picture_by_picture_is_not_divided(spec: OutputSpec) -> None:
    assert part_count(planned(spec), 300) == 0


def test_a_loop_and_avi_are_not_divided() -> None:
    canvas = planned(OutputSpec("canvas", "9:16", "crop"), end="8")
    assert part_count(canvas, 300) == 0
    assert part_count(replace(planned(), info=replace(INFO, container="avi")), 300) == 0
    part = plan(INFO, Clip(Fraction(0), Fraction(600)), SHAPE, part=(Fraction(0), Fraction(300)))
    assert part_count(part, 300) == 0


def test_a_film_that_fades_is_divided_although_its_shape_is_the_source_s() -> None:
    assert part_count(planned(OutputSpec("cutdown", "source", "crop", fade_s=1.0)), 300) == 20


def test_parts_begin_at_key_pictures_and_follow_one_another() -> None:
    whole = planned(start="10", end="130")
    assert wanted_starts(whole, 4) == [40, 70, 100]

    parts = divide(whole, 4, [Fraction(40), Fraction(68), Fraction(68), Fraction(100)])

    assert parts == [(0, 30), (30, 58), (58, 90), (90, 120)]


@settings(max_examples=40)
@given(
    st.integers(2, 100), st.floats(0.2, 400), st.floats(0, 500), st.sampled_from([0.0, 1.0, 5.0])
)
def test_parts_cover_a_film_once_and_none_is_tiny(
    count: int, every_s: float, start: float, fade_s: float
) -> None:
    spec = replace(SHAPE, fade_s=fade_s)
    whole = planned(spec, start=str(round(start, 2)))
    parts = divide(whole, count, entries(every_s))

    length_s = whole.end - whole.start
    if not parts:
        return
    assert parts[0][0] == 0
    assert parts[-1][1] == length_s
    assert all(a[1] == b[0] for a, b in pairwise(parts))
    assert min(b - a for a, b in parts) >= max(length_s / count / 3, Fraction(fade_s))
    assert {whole.start + a for a, _ in parts[1:]} <= set(entries(every_s))


@settings(max_examples=40)
@given(st.integers(2, 40), st.floats(0, 30), st.sampled_from([7, 12, 15, 29]))
def test_parts_at_a_steady_rate_have_all_pictures_of_the_whole(
    count: int, start: float, fastest: int
) -> None:
    spec = replace(SHAPE, fastest=fastest)
    whole = planned(spec, start=str(round(start, 3)))

    clip = whole.clip
    made = [plan(INFO, clip, spec, part=part) for part in divide(whole, count, entries())]

    assert made
    assert sum(each.pictures or 0 for each in made) == whole.pictures


def test_only_the_first_part_fades_in_and_only_the_last_out() -> None:
    spec = replace(SHAPE, fade_s=2.0)
    clip = Clip(Fraction(0), Fraction(600))
    parts = divide(planned(spec), 3, [Fraction(200), Fraction(400)])
    first, middle, last = (plan(INFO, clip, spec, part=part).filters for part in parts)

    assert "fade=t=in:st=0:d=2" in first
    assert "fade=t=out" not in first
    assert "fade" not in middle
    assert "fade=t=out:st=198.000000:d=2" in last
    assert "fade=t=in" not in last


def test_a_request_with_parts_is_the_same_after_json() -> None:
    part = Part("a.mp4", Fraction(1, 3))
    output = Output("out.mp4", "null", ("-c:v", "libx264"), "mp4", parts=(part,))
    request = Request("in.mp4", "mov", Fraction(0), Fraction(1), 0, (), "ffmpeg", (output,))
    assert Request.from_json(request.to_json()) == request


# The cost model


def test_without_history_the_prior_is_the_estimate() -> None:
    work = work_of(planned(end="60"))
    estimate = CostModel.of([]).estimate(work)
    assert estimate.seconds == pytest.approx(work.expected_s)
    assert not estimate.known
    # A minute of 1080p is one to three minutes of one core, and no hour.
    assert 30 < estimate.seconds < 180


def test_larger_pictures_and_more_of_them_cost_more() -> None:
    short, long = (work_of(planned(end=end)).expected_s for end in ("30", "60"))
    assert long == pytest.approx(2 * short, rel=0.05)
    assert work_of(planned(replace(SHAPE, size=(360, 640)))).expected_s < (
        work_of(planned()).expected_s
    )
    assert work_of(planned(replace(SHAPE, fit="blur"))).expected_s > work_of(planned()).expected_s


def test_runs_tell_how_fast_the_workers_are() -> None:
    model = CostModel.of([("h264", 10.0, 5.0)] * 20)
    assert model.estimate(Work("h264", 100.0)).seconds == pytest.approx(50, rel=0.1)
    assert model.estimate(Work("h264", 100.0)).known
    # Of other work it tells something, too.
    other = model.estimate(Work("hevc", 100.0))
    assert other.seconds == pytest.approx(50, rel=0.1)
    assert not other.known


@given(st.lists(st.floats(1e-3, 1e6), max_size=4))
def test_a_few_wild_runs_change_little(wild: list[float]) -> None:
    usual = [("h264", 10.0, 10.0 + number % 3) for number in range(20)]
    odd = [("h264", 10.0, seconds) for seconds in wild]
    estimate = CostModel.of([*odd, *usual]).estimate(Work("h264", 10.0))
    assert 9.0 <= estimate.seconds <= 13.0


def test_only_the_latest_runs_count() -> None:
    runs = [("h264", 10.0, 5.0)] * 30 + [("h264", 10.0, 500.0)] * 1000
    assert CostModel.of(runs).estimate(Work("h264", 10.0)).seconds < 10.0


def test_a_limit_is_today_s_until_runs_are_known_and_then_many_times_the_estimate() -> None:
    whole = planned()
    cap = time_limit_s(INFO, whole.clip, SHAPE)
    work = work_of(whole)
    assert CostModel.of([]).limit_s(whole) == cap

    fast = CostModel.of([(work.kind, 100.0, 10.0)] * 10)
    estimate = fast.estimate(work).seconds
    assert fast.limit_s(whole) == pytest.approx(LIMIT_BASE_S + LIMIT_TIMES * estimate)
    slow = CostModel.of([(work.kind, 1.0, 1000.0)] * 10)
    assert slow.limit_s(whole) == cap


def test_a_part_s_limit_is_shorter_than_the_whole_s() -> None:
    clip = Clip(Fraction(0), Fraction(600))
    part = plan(INFO, clip, SHAPE, part=(Fraction(0), Fraction(30)))
    model = CostModel.of([])
    assert model.limit_s(part) == time_limit_s(INFO, Clip(Fraction(0), Fraction(30)), SHAPE)


def test_outputs_of_a_clip_are_made_in_one_task_as_long_as_it_is_short() -> None:
    tall, square = planned(end="8"), planned(replace(SHAPE, aspect="1:1"), end="8")
    copied, other = planned(replace(SHAPE, aspect="source"), end="8"), planned(end="9")
    copied_too = planned(OutputSpec("cutdown", "source", "pad"), end="8")

    assert groups([(tall, 10.0), (square, 10.0), (other, 10.0)]) == [[0, 1], [2]]
    # What needs no decode waits for nothing that does.
    assert groups([(tall, 10.0), (copied, 10.0), (square, 10.0), (copied_too, 1.0)]) == [
        [0, 2],
        [1, 3],
    ]
    assert groups([(tall, 30.0), (square, 30.0), (tall, 10.0)]) == [[0], [1, 2]]
    # What is divided among workers is left alone.
    assert groups([(tall, 10.0), (square, SHARED_FROM_S), (tall, 10.0)]) == [[0, 2], [1]]
    assert [len(each) for each in groups([(tall, 0.1)] * 20)] == [16, 4]
