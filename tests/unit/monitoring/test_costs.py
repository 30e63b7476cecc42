"""What a month costs by Cloudflare's prices, and where a step failed."""

from __future__ import annotations

import pytest

from cutmv.monitoring.costs import MONTH_S, a_month
from cutmv.worker.operating.tracebacks import MAX_CHARS, traceback_of


def test_a_month_is_reckoned_of_what_each_process_did_since_it_began() -> None:
    hour = {"writes": 1_000, "reads": 3_000, "deletes": 1_000, "calls": 99_999}

    cost = a_month([(hour, 3600.0), (hour, 7200.0)], 110_000_000_000)

    assert cost.operations == pytest.approx(7_500 * 720)
    assert cost.operations_price == pytest.approx((5_400_000 - 1_000_000) / 1e6 * 0.40)
    assert cost.stored_price == pytest.approx(1.50)
    assert cost.whole == pytest.approx(5 + 1.76 + 1.50)


def test_what_is_free_costs_nothing_and_a_process_that_has_just_begun_tells_nothing() -> None:
    cost = a_month([({"reads": 100_000}, 1.0), ({"reads": 900_000}, MONTH_S)], 10_000_000_000)

    assert cost.operations == pytest.approx(900_000)
    assert cost.whole == 5.0


def test_a_traceback_names_the_place_and_no_secret() -> None:
    url = "https://me:hunter2@r2/b/k?X-Amz-Credential=AKIA&X-Amz-Signature=5ec3e7&part=2"
    try:
        try:
            raise ConnectionError(f"GET {url} by Bearer t0ken: reset")
        except ConnectionError as error:
            raise ValueError("x" * 2 * MAX_CHARS) from error
    except ValueError as error:
        long = traceback_of(error)
        told = traceback_of(error.__cause__ or error)

    assert len(long) == MAX_CHARS
    assert "test_costs.py" in told
    assert "part=2" in told
    for secret in ("hunter2", "AKIA", "5ec3e7", "t0ken"):
        assert secret not in told
