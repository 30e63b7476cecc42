"""The ids of signed requests: none is accepted twice, and none is refused for another's sake."""

from __future__ import annotations

from cutmv.transports.cloudflare.edge.signature import TOLERANCE, SeenIds


def test_any_number_of_requests_is_accepted_and_each_once() -> None:
    seen, now = SeenIds(), 1_700_000_000.0
    ids = [f"msg_{n}" for n in range(120_000)]

    assert all(seen.add(each, int(now), now) for each in ids)
    assert not any(seen.add(each, int(now), now + TOLERANCE) for each in ids[::1_000])


def test_an_id_is_forgotten_once_its_timestamp_is_refused() -> None:
    seen, now = SeenIds(), 1_700_000_000.0
    seen.add("behind", int(now - TOLERANCE), now)
    seen.add("ahead", int(now + TOLERANCE), now)

    assert seen.add("another", int(now + 2), now + 2)
    assert len(seen._seen) == 2
    assert not seen.add("ahead", int(now + TOLERANCE), now + 2 * TOLERANCE - 1)
    seen.add("later", int(now + 2 * TOLERANCE), now + 2 * TOLERANCE + 2)
    assert seen._seen == {"later"}


def test_an_id_is_used_once_whatever_its_timestamp() -> None:
    seen, now = SeenIds(), 1_700_000_000.0
    assert seen.add("one", int(now), now)
    assert not seen.add("one", int(now) + 1, now + 1)
