"""`cutmv.web.auth.attempts`: how often somebody may guess."""

from __future__ import annotations

import pytest

from cutmv.web.auth import attempts as counting
from cutmv.web.auth.attempts import BY_ACCOUNT, BY_ADDRESS, Attempts


def test_one_address_has_some_attempts_at_all_accounts_together() -> None:
    attempts = Attempts()

    waits = [attempts.wait_s("192.0.2.1", f"{n}@x") for n in range(BY_ADDRESS.most + 1)]

    assert waits[:-1] == [0] * BY_ADDRESS.most
    assert 0 < waits[-1] <= 300
    assert attempts.wait_s("192.0.2.2", "0@x") == 0


def test_one_account_has_some_attempts_from_all_addresses_together() -> None:
    attempts = Attempts()

    waits = [
        attempts.wait_s(f"192.0.2.{n}", ["ada@x", " ADA@X"][n % 2])
        for n in range(BY_ACCOUNT.most + 1)
    ]

    assert waits[:-1] == [0] * BY_ACCOUNT.most
    assert 0 < waits[-1] <= 3600
    assert attempts.wait_s("192.0.2.1", "bob@x") == 0


def test_an_attempt_is_taken_again_when_the_first_has_grown_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(counting.time, "monotonic", lambda: now[0])
    attempts = Attempts()
    waits = [attempts.wait_s("192.0.2.1", f"{n}@x") for n in range(BY_ADDRESS.most + 1)]
    assert waits[-1] == BY_ADDRESS.window_s
    now[0] += waits[-1]
    assert attempts.wait_s("192.0.2.1", "other@x") == 0


def test_accounts_that_strangers_invent_are_kept_up_to_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "MAX_COUNTED", 10)
    attempts = Attempts()
    for number in range(100):
        attempts.wait_s(f"192.0.2.{number}", f"{number}@x")
    assert len(attempts._at) == 10
