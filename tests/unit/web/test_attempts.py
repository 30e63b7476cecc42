"""`cutmv.web.auth.attempts`: how often somebody may guess."""

from __future__ import annotations

from cutmv.web.auth.attempts import BY_ACCOUNT, BY_ADDRESS, Attempts


def test_one_address_has_some_attempts_at_all_accounts_together() -> None:
    attempts = Attempts()

    waits = [attempts.wait_s("192.0.2.1", f"{n}@x") for n in range(BY_ADDRESS.amount + 1)]

    assert waits[:-1] == [0] * BY_ADDRESS.amount
    assert 0 < waits[-1] <= 300
    assert attempts.wait_s("192.0.2.2", "0@x") == 0


def test_one_account_has_some_attempts_from_all_addresses_together() -> None:
    attempts = Attempts()

    waits = [
        attempts.wait_s(f"192.0.2.{n}", ["ada@x", " ADA@X"][n % 2])
        for n in range(BY_ACCOUNT.amount + 1)
    ]

    assert waits[:-1] == [0] * BY_ACCOUNT.amount
    assert 0 < waits[-1] <= 3600
    assert attempts.wait_s("192.0.2.1", "bob@x") == 0
