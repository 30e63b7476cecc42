import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.api import rate_limit as budget_module
from cutmv.transports.cloudflare.api.rate_limit import RateLimiter
from cutmv.transports.cloudflare.errors import Throttled


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_module.time, "sleep", clock.sleep)
    return clock


def _busiest(calls: list[float], window: float) -> int:
    return max(sum(start <= call < start + window for call in calls) for start in calls)


def test_a_caller_in_a_hurry_for_ever_never_passes_the_limit_in_any_window(clock: Clock) -> None:
    limiter = RateLimiter(60, 30, clock=clock)
    calls = []
    while clock.now < 1200:
        limiter.take(deadline=float("inf"))
        calls.append(clock.now)

    assert _busiest(calls, 30) <= 60
    # and it is used: over the whole time, most of 2 calls a second
    assert len(calls) > 0.8 * 2 * 200


@given(gaps=st.lists(st.floats(0, 5), min_size=1, max_size=300), limit=st.integers(1, 20))
def test_whatever_the_rhythm_no_window_holds_more_than_the_limit(
    gaps: list[float], limit: int
) -> None:
    clock = Clock()
    limiter = RateLimiter(limit, 10, clock=clock)
    calls = []
    for gap in gaps:
        clock.now += gap
        try:
            limiter.take(deadline=clock.now)
        except Throttled:
            continue
        calls.append(clock.now)

    assert calls
    assert _busiest(calls, 10) <= limit


def test_the_first_half_goes_at_once_and_the_rest_is_spread(clock: Clock) -> None:
    limiter = RateLimiter(100, 100, clock=clock)
    for _ in range(50):
        limiter.take(deadline=clock.now)
    start = clock.now

    limiter.take(deadline=float("inf"))
    limiter.take(deadline=float("inf"))

    assert 2 <= clock.now - start <= 8


def test_a_caller_that_can_not_wait_is_told_at_once(clock: Clock) -> None:
    limiter = RateLimiter(2, 100, clock=clock)
    limiter.take(deadline=clock.now)
    start = clock.now

    with pytest.raises(Throttled, match="budget of REST calls is used up"):
        limiter.take(deadline=clock.now + 5)
    assert clock.now == start


def test_what_cloudflare_says_is_left_counts_less_the_reserve(clock: Clock) -> None:
    limiter = RateLimiter(1000, 300, reserve=10, clock=clock)
    limiter.learn({"ratelimit": '"default";r=12;t=30'})

    limiter.take(deadline=clock.now)
    limiter.take(deadline=clock.now)
    with pytest.raises(Throttled):
        limiter.take(deadline=clock.now + 20)
    clock.now += 30
    limiter.take(deadline=clock.now)


def test_a_429_closes_the_budget_for_as_long_as_it_says(clock: Clock) -> None:
    limiter = RateLimiter(0, 300, clock=clock)
    limiter.close_for(7)

    with pytest.raises(Throttled):
        limiter.take(deadline=clock.now + 6)
    limiter.take(deadline=clock.now + 8)
    assert clock.now >= 1007


def test_no_limit_means_no_waiting(clock: Clock) -> None:
    limiter = RateLimiter(0, 300, clock=clock)

    for _ in range(5000):
        limiter.take(deadline=clock.now)


@pytest.mark.parametrize(
    ("told", "policy", "wait"),
    [
        ('"default";r=0;t=30', "", 30),
        ('"default";r=500;t=30, "burst";r=0;t=7', "", 7),
        ('"burst";r=0;t=7, "default";r=0;t=30', "", 30),
        ('"burst, r=9;t=9";r=0;t=7;pk=:cj0x:, "default" ; t=30 ; r=500', "", 7),
        ('"a";r=3;t=1;pk=:YQ==:, "a";r=0;t=4;pk=:Yg==:', "", 4),
        ('"default";r="0";t="30"', "", 30),
        # The reserve of a small limit is a part of it: nearly all of it may be used.
        ('"default";r=500;t=30, "burst";r=50;t=7', '"default";q=1200;w=300, "burst";q=60;w=1', 0),
        ('"default";r=500;t=30, "burst";r=5;t=7', '"default";q=1200;w=300, "burst";q=60;w=1', 7),
        ('"default";r=100;t=30', '"default";q=1200;w=300', 30),
        # No sense, or nothing.
        ("", "", 0),
        ("r=;t=", "q", 0),
        ('"default";r=0', "", 0),
        ('limit=?;;r=,t=;"', ';;="', 0),
    ],
)
def test_every_limit_that_cloudflare_tells_is_obeyed(
    clock: Clock, told: str, policy: str, wait: int
) -> None:
    limiter = RateLimiter(1000, 300, reserve=120, clock=clock)
    limiter.learn({"ratelimit": told, "ratelimit-policy": policy})
    if wait:
        with pytest.raises(Throttled):
            limiter.take(deadline=clock.now + wait - 1)
        clock.now += wait
    limiter.take(deadline=clock.now)


def test_a_limit_that_is_told_no_more_still_counts(clock: Clock) -> None:
    limiter = RateLimiter(1000, 300, clock=clock)
    limiter.learn({"ratelimit": '"burst";r=0;t=7, "default";r=500;t=30'})
    limiter.learn({"ratelimit": '"default";r=499;t=30'})
    with pytest.raises(Throttled):
        limiter.take(deadline=clock.now + 6)


def test_calls_that_belong_together_are_taken_whole_or_not_at_all(clock: Clock) -> None:
    limiter = RateLimiter(10, 100, clock=clock)  # of which five may go at once
    limiter.take(deadline=clock.now, count=4)

    wait = limiter.try_take(3)
    assert wait > 0
    assert limiter.used == 4, "what is refused must not be used up"
    with pytest.raises(Throttled):
        limiter.take(deadline=clock.now + wait / 2, count=3)
    assert limiter.used == 4

    clock.now += wait
    assert limiter.try_take(3) == 0.0
    assert limiter.used == 7


def test_what_is_refused_again_and_again_leaves_the_others_their_calls(clock: Clock) -> None:
    """Two subscribers whose pair of calls comes too soon must not keep the first one for ever."""
    limiter = RateLimiter(10, 100, clock=clock)
    limiter.take(deadline=clock.now, count=5)

    went = 0
    for _ in range(100):
        clock.now += 2
        went += limiter.try_take(2) == 0.0
    assert went * 2 >= 0.8 * 10 * 200 / 100


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=100), gap=st.floats(0, 3))
def test_however_many_are_taken_together_no_window_holds_more_than_the_limit(
    counts: list[int], gap: float
) -> None:
    clock = Clock()
    limiter = RateLimiter(10, 10, clock=clock)
    calls: list[float] = []
    for count in counts:
        clock.now += gap
        if not limiter.try_take(count):
            calls += [clock.now] * count

    assert calls
    assert _busiest(calls, 10) <= 10


def test_calls_together_leave_the_reserve_that_cloudflare_tells_of(clock: Clock) -> None:
    limiter = RateLimiter(1000, 300, reserve=10, clock=clock)
    limiter.learn({"ratelimit": '"default";r=12;t=30'})

    assert limiter.try_take(3) == 30
    assert limiter.try_take(2) == 0


def test_without_a_limit_no_call_is_remembered_for_ever(clock: Clock) -> None:
    limiter = RateLimiter(0, 300, clock=clock)
    for _ in range(1000):
        limiter.take(deadline=clock.now)
        clock.now += 1

    assert limiter.used <= 300
    assert len(limiter._calls) <= 301


@pytest.mark.parametrize(
    ("left", "scarce"), [('"default";r=700;t=30, "burst";r=55;t=7', False), ("r=0", False),
                         ('"default";r=700;t=30, "burst";r=20;t=7', True),
                         ('"default";r=500;t=30, "burst";r=55;t=7', True)]
)  # fmt: skip
def test_calls_are_scarce_where_half_of_any_limit_is_used_up(
    clock: Clock, left: str, scarce: bool
) -> None:
    limiter = RateLimiter(1080, 300, reserve=120, clock=clock)
    policy = '"default";q=1200;w=300, "burst";q=60;w=10'
    limiter.learn({"ratelimit": left, "ratelimit-policy": policy})
    assert limiter.scarce is scarce
