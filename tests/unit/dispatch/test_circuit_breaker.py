"""The circuit breaker."""

from __future__ import annotations

from cutmv.dispatch import CircuitBreaker
from cutmv.dispatch.circuit_breaker import FIRST_PROBE_S
from tests.support.processes import wait_for


def test_a_breaker_opens_at_a_failure_and_closes_at_a_success() -> None:
    breaker = CircuitBreaker()
    assert (breaker.reason, breaker.wants_probe) == (None, False)

    breaker.failed("gone")
    assert breaker.reason == "gone"
    assert not breaker.wants_probe
    wait_for(lambda: breaker.wants_probe, FIRST_PROBE_S + 1.0)
    breaker.failed("still gone")
    assert not breaker.wants_probe

    breaker.succeeded()
    assert (breaker.reason, breaker.wants_probe) == (None, False)
