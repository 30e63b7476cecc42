"""The Worker that keeps results is found as the transport finds its own."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import ImproperlyConfigured

from cutmv.backends.cloudflare import values
from cutmv.backends.cloudflare.finding import find_edge

KEY = "whsec_" + "QUJD" * 11
ENVIRON = {"CLOUDFLARE_EDGE_URL": "https://env.example", "CLOUDFLARE_EDGE_KEYS": KEY}
OPTIONS = {"edge_url": "https://broker.example", "edge_keys": "k" * 24}
OWN = {"edge_url": "https://own.example"}


@pytest.mark.parametrize(
    ("conf", "found"),
    [
        ({}, ("https://env.example", KEY)),
        (
            {"broker_url": "cloudflare://", "broker_transport_options": OPTIONS},
            ("https://broker.example", "k" * 24),
        ),
        (
            {"broker_url": "redis://h", "broker_transport_options": OPTIONS},
            ("https://env.example", KEY),
        ),
        (
            {
                "broker_url": "cloudflare://",
                "broker_transport_options": OPTIONS,
                "result_backend_transport_options": OWN,
            },
            ("https://own.example", "k" * 24),
        ),
    ],
)
def test_the_nearest_option_counts(conf: dict[str, Any], found: tuple[str, str]) -> None:
    assert find_edge(conf, ENVIRON) == found


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "there is no edge Worker: deploy edge/, then set CLOUDFLARE_EDGE_URL"),
        ({"CLOUDFLARE_EDGE_URL": "https://h"}, "edge_keys .* is missing"),
        ({**ENVIRON, "CLOUDFLARE_EDGE_KEYS": "short"}, "less than 24 bytes"),
        ({**ENVIRON, "CLOUDFLARE_EDGE_URL": "ftp://h"}, "http"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(environ: dict[str, str], told: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^result backend cloudflare://: .*{told}") as e:
        find_edge({}, environ)
    assert "\n" not in str(e.value)
    assert "short" not in str(e.value)


@pytest.mark.parametrize(
    "payload", [b"", b"plain", "é\U0001f3b5\n".encode(), b"\x00\xff", b"a\x01b", bytes(range(256))]
)
def test_a_payload_is_read_as_it_was_written(payload: bytes) -> None:
    assert values.read(values.write(payload)) == payload
