"""What each client would load again, and takes most of the time of a short test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from botocore.loaders import JSONFileLoader

#: A certificate that has signed nothing: no test speaks TLS with anybody.
AUTHORITY = Path(__file__).with_name("authority.pem")
#: The environment as it was given, for programs that fetch packages by TLS.
GIVEN = dict(os.environ)


@pytest.fixture(scope="session", autouse=True)
def load_once() -> Iterator[None]:
    """Have httpx load one authority instead of all, and boto3 read its files about S3 once.

    The former takes 25 ms of each client, here and in processes; the latter 140 ms of each here.
    """
    read = lru_cache(maxsize=None)(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(AUTHORITY))
        patch.setattr(JSONFileLoader, "load_file", staticmethod(read))
        yield
