"""Who is admitted: so many at once of a kind, so many of a client, so many requests a minute."""

from __future__ import annotations

import pytest
from flask import Flask

from cutmv.config.limits import networks
from cutmv.web import admission
from cutmv.web.admission import Admission, Kind, Rate
from cutmv.web.api.problems import Problem
from cutmv.web.clients import client_address
from cutmv.web.state import EXTENSION

UPLOADS = Kind("uploads", 3)


def status(enter: Admission, client: str) -> int:
    try:
        enter.enter(UPLOADS, client, 2)
    except Problem as problem:
        assert problem.retry_after_s
        return problem.status
    return 200


def test_a_client_has_a_part_and_all_have_a_share() -> None:
    here = Admission()
    assert [status(here, client) for client in "aaabb"] == [200, 200, 429, 200, 503]
    here.leave(UPLOADS, "a")
    assert status(here, "b") == 200


def test_nothing_is_kept_of_clients_that_have_left_or_were_refused() -> None:
    here = Admission()
    for number in range(100):
        if status(here, str(number)) == 200:
            here.leave(UPLOADS, str(number))
    assert not here._of_client


def test_requests_a_minute_come_back_as_time_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: now[0])
    rate = Rate()
    for _ in range(60):
        rate.take("a", 60)
    with pytest.raises(Problem) as caught:
        rate.take("a", 60)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
    rate.take("b", 60)
    now[0] += 1
    rate.take("a", 60)


def test_clients_are_counted_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_COUNTED", 10)
    rate = Rate()
    for number in range(100):
        rate.take(str(number), 60)
    assert len(rate._left) == 10


class _Web:
    """What the address of a client depends on."""

    def __init__(self, proxies: str) -> None:
        self.services = self.settings = self
        self.trusted_proxies = networks(proxies)


@pytest.mark.parametrize(
    ("proxies", "peer", "told", "client"),
    [
        ("", "10.0.0.1", "1.1.1.1", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.0/8", "10.0.0.1", "9.9.9.9, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.0/8", "10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", "a stranger's", "10.0.0.1"),
        ("10.0.0.0/8", "2.2.2.2", "1.1.1.1", "2.2.2.2"),
        ("", "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("", "::ffff:2.2.2.2", "", "2.2.2.2"),
        ("", "", "", "unknown"),
    ],
)
def test_only_a_trusted_proxy_tells_who_asks(
    proxies: str, peer: str, told: str, client: str
) -> None:
    app = Flask(__name__)
    app.extensions[EXTENSION] = _Web(proxies)
    headers = {"X-Forwarded-For": told} if told else {}
    with app.test_request_context(headers=headers, environ_base={"REMOTE_ADDR": peer}):
        assert client_address() == client
