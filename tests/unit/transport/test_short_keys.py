"""Keys that might be guessed are refused, but between processes of one machine."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from cutmv.transports.cloudflare.edge import check_keys
from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.options import Options


def whsec(length: int) -> str:
    return "whsec_" + base64.b64encode(b"k" * length).decode()


#: One byte too short, as it is and encoded, and beside one that is long enough.
SHORT = ["k" * 23, whsec(23), f"{whsec(24)} {whsec(23)}", "whsec_" + "k" * 17]
LONG = ["k" * 24, whsec(24), f"{whsec(24)} {whsec(32)}", "four words of a passphrase"]
#: Where requests go or come: beyond this machine, and on it alone.
FAR = [
    {"edge_url": "https://edge.example.workers.dev"},
    {"edge_url": "http://10.0.0.1:8787"},
    {"edge_url": "http://localhost.example.com"},
    {"edge_url": "http://127.0.0.1:8787", "consume": "push", "ingress_host": "0.0.0.0"},
    {"edge_url": "https://edge.example", "consume": "push", "ingress_host": "127.0.0.1"},
    {"consume": "push", "ingress_host": "::"},
]
HERE = [
    {"edge_url": "http://127.0.0.1:8787"},
    {"edge_url": "http://[::1]:8787", "consume": "push", "ingress_host": "::1"},
    {"edge_url": "http://localhost:8787", "consume": "push", "ingress_host": "localhost"},
    {"ingress_host": "0.0.0.0"},
]


@pytest.mark.parametrize("keys", SHORT)
@pytest.mark.parametrize("where", FAR)
def test_a_short_key_is_refused_beyond_this_machine(keys: str, where: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="less than 24 bytes") as caught:
        check_keys(replace(Options(), edge_keys=keys, **where))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert keys not in str(caught.value)


@pytest.mark.parametrize("keys", LONG)
@pytest.mark.parametrize("where", FAR)
def test_a_long_key_is_taken_anywhere(keys: str, where: dict[str, str]) -> None:
    check_keys(replace(Options(), edge_keys=keys, **where))  # type: ignore[arg-type]


@pytest.mark.parametrize("where", HERE)
def test_any_key_is_taken_on_this_machine(where: dict[str, str]) -> None:
    check_keys(replace(Options(), edge_keys="k", **where))  # type: ignore[arg-type]
