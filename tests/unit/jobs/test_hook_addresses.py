"""Where hooks may lead."""

from __future__ import annotations

import pytest

from cutmv.jobs import check_url, is_public
from cutmv.people import Refused

PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "localhost",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_none_of_the_public_network(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_a_public_address_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com/hook", "must start with https"),
        ("ftp://example.com/hook", "must start with https"),
        ("https://127.0.0.1/hook", "public network"),
        ("https://[::1]:8443/hook", "public network"),
        ("https://localhost/hook", "public network"),
        ("https://me:pass@example.com/", "no user, password or fragment"),
        ("https://example.com/#part", "no user, password or fragment"),
        ("https:///hook", "no address"),
        ("https://example.com:99999/", "no address"),
        ("https://[::1/", "no address"),
        ("https://example.com/a b", "no address"),
        ("https://example.com/\r\nX: y", "no address"),
        ("https://example.com/" + "a" * 2000, "no address"),
        ("not an address", "must start with https"),
    ],
)
def test_what_is_no_address_of_a_receiver_is_refused(url: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        check_url(url, anywhere=False)


def test_a_public_address_is_kept_as_it_is_and_any_where_it_may_be() -> None:
    for url in ("https://example.com:8443/hook?a=b", "https://1.1.1.1/"):
        assert check_url(url, anywhere=False) == url
    for url in ("http://127.0.0.1:9000/hook", "https://localhost/"):
        assert check_url(url, anywhere=True) == url
