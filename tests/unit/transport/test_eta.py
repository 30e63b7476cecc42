from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.messages import eta as delays

NOW = 1_800_000_000.0


@given(
    wait=st.floats(0, 90 * 86_400, allow_nan=False),
    lateness=st.lists(st.floats(0, 5), min_size=1, max_size=20),
    retention=st.integers(3600, 14 * 86_400),
)
def test_hops_end_at_the_time_and_never_hand_out_a_message_early(
    wait: float, lateness: list[float], retention: int
) -> None:
    due, now, hops = NOW + wait, NOW, 0
    while True:
        asked = delays.delay(due, now, retention)
        assert 0 <= asked <= min(delays.MAX_DELAY, retention / 2)
        late = lateness[hops % len(lateness)]
        now, hops = now + asked + late, hops + 1
        if not delays.is_early(due, now):
            break
        assert due - now > delays.MAX_HOLD
    assert due - now <= delays.MAX_HOLD
    # Late by no more than the last delivery was, and a rounded second never counts twice.
    assert now - due <= max(lateness) + 1e-5
    assert hops <= wait / min(delays.MAX_DELAY, retention // 2) + 2


@given(seconds=st.integers(0, 10**9), offset=st.integers(-14, 14))
def test_an_eta_is_the_same_moment_in_every_zone(seconds: int, offset: int) -> None:
    when = datetime.fromtimestamp(seconds, timezone(timedelta(hours=offset)))
    assert delays.due_at({"headers": {"eta": when.isoformat()}}) == seconds


@pytest.mark.parametrize(
    ("eta", "due"),
    [
        (None, None),
        ("soon", None),
        (12, None),
        ("2027-01-15T08:00:00", datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()),
        ("2027-01-15T08:00:00Z", datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()),
        ("2027-01-15T08:00:00.250+01:00", datetime(2027, 1, 15, 7, tzinfo=UTC).timestamp() + 0.25),
    ],
)
def test_what_is_no_time_means_at_once(eta: object, due: float | None) -> None:
    assert delays.due_at({"headers": {"eta": eta}}) == due


def test_a_message_without_an_eta_is_never_early() -> None:
    assert delays.due_at({"headers": {}}) is None
    assert not delays.is_early(None, NOW)
