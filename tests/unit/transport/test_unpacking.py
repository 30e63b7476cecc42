"""What others compressed is unpacked piece by piece, or is unreadable."""

from __future__ import annotations

import base64
import tracemalloc
from typing import Any

import pytest
from kombu import compression

from cutmv.transports.cloudflare.messages import poison, unpacking
from cutmv.transports.cloudflare.messages.envelope import Undecodable

NAMES = ["zlib", "bzip2", "lzma", "brotli", "zstd"]
BOMB = 20_000_000


@pytest.fixture(params=NAMES)
def codec(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """kombu's name of a kind of compression, and what compresses; skipped where it is not here."""
    try:
        encode, kind = compression.get_encoder(request.param)
    except KeyError:
        pytest.skip(f"{request.param} is not installed")
    return kind, encode


def test_what_is_packed_is_unpacked(codec: tuple[str, Any]) -> None:
    kind, encode = codec
    for data in (b"", b"x", b"some text " * 100_000):
        assert b"".join(unpacking.pieces(kind, encode(data), 10**7)) == data


def test_streams_that_follow_each_other_are_one_body(codec: tuple[str, Any]) -> None:
    kind, encode = codec
    packed = encode(b"one ") + encode(b"two")
    if kind in ("application/x-gzip", "application/x-brotli"):
        pytest.skip("kombu reads one stream")
    assert b"".join(unpacking.pieces(kind, packed, 100)) == b"one two"
    assert compression.decompress(packed, kind) == b"one two"


@pytest.mark.parametrize("bounded", [True, False])
def test_a_bomb_is_unreadable_and_takes_no_memory(
    codec: tuple[str, Any], bounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, encode = codec
    if not bounded:  # as Brotli was before its version 1.2
        if kind != "application/x-brotli":
            pytest.skip("it has bounds")
        monkeypatch.setattr(unpacking._Brotli, "is_bounded", lambda _: False)
    packed = encode(bytes(BOMB if bounded else 2 * BOMB))
    monkeypatch.setattr(poison, "MAX_UNPACKED", BOMB // 2)
    message = {
        "body": base64.b64encode(packed).decode(),
        "headers": {"compression": kind},
        "properties": {"body_encoding": "base64"},
    }
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable, match="its body unpacks to more than 10,000,000 bytes"):
            poison.check(message)
        assert tracemalloc.get_traced_memory()[1] < 1.8 * BOMB
    finally:
        tracemalloc.stop()


def test_what_is_cut_short_or_garbage_is_told(codec: tuple[str, Any]) -> None:
    kind, encode = codec
    for packed in (encode(b"some text " * 100_000)[:-5], b"garbage", b"\xff" * 40):
        with pytest.raises(ValueError, match="can't be unpacked"):
            list(unpacking.pieces(kind, packed, 10**7))
