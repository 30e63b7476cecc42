import base64
import bz2
import json
import lzma
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.transport import virtual

from cutmv.transports.cloudflare.errors import (
    ConfigurationError,
    MessageTooLarge,
    ObjectMissing,
    ObjectStoreError,
    PublishFailed,
)
from cutmv.transports.cloudflare.messages import claim_check, envelope, limits
from cutmv.transports.cloudflare.messages.claim_check import ClaimChecks
from cutmv.transports.cloudflare.options import Options


def _message(body: str, **headers: Any) -> dict[str, Any]:
    return {
        "id": "publish-1",
        "body": body,
        "headers": {"id": "task-1", "task": "t", **headers},
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "q"},
            "body_encoding": "utf-8",
        },
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }


def _text(body: str, **headers: Any) -> str:
    return envelope.encode(_message(body, **headers))


def _store(directory: Path, **options: Any) -> ClaimChecks:
    return ClaimChecks(Options(large_messages=directory.as_uri(), **options), "account")


def _pulled(text: str) -> dict[str, Any]:
    return {"id": "m1", "body": text, "attempts": 2, "lease_id": "lease-1", "metadata": {}}


def _read(store: ClaimChecks, text: str) -> Any:
    entry = _pulled(text)
    reference = envelope.decode(entry)
    assert claim_check.is_reference(reference)
    (read,) = store.read_all([(entry, reference)])
    return read


def _body(text: str) -> Any:
    """Return the body as kombu gives it to a consumer."""
    message = virtual.Message(envelope.decode(_pulled(text)), channel=_CHANNEL)
    return message.body


class _Decoder:
    """The part of a channel that reads bodies."""

    no_ack_consumers = None
    decode_body = virtual.Channel.decode_body
    codecs = virtual.Channel.codecs


_CHANNEL = _Decoder()


def _noise(size: int) -> str:
    """Return text that packs to three quarters at best, the same each time."""
    return base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()


def test_a_message_up_to_128_kb_with_its_metadata_fits_and_a_byte_more_is_compressed() -> None:
    nowhere = ClaimChecks(Options(), "account")
    room = 128_000 - 100 - len(_text("").encode())

    assert nowhere.fit(_text("x" * room)) == _text("x" * room)
    assert limits.size(nowhere.fit(_text("x" * (room + 1)))) < 2000
    with pytest.raises(
        MessageTooLarge,
        match=r"^message of 130,\d+ bytes, \d{3},\d{3} when compressed.*option large_messages",
    ) as caught:
        nowhere.fit(_text(_noise(130_000)))
    assert "\n" not in str(caught.value)


def test_a_large_message_becomes_a_reference_and_comes_back_whole(tmp_path: Path) -> None:
    store = _store(tmp_path)
    text = _text("é" + _noise(500_000), eta="2030-01-01T00:00:00+00:00", argsrepr="a" * 1000)
    small = store.fit(text)
    reference = envelope.decode(_pulled(small))

    assert limits.size(small) < 1000
    assert reference["headers"]["task"] == "t"
    assert reference["headers"]["eta"] == "2030-01-01T00:00:00+00:00"
    read = _read(store, small)
    assert read.pop("large") == reference["large"]
    assert read == envelope.decode(_pulled(text))
    assert read["properties"]["delivery_info"]["delivery_count"] == 2


@settings(max_examples=30, deadline=None)
@given(
    st.text(min_size=1, max_size=4),
    st.integers(30_000, 140_000),
    st.sampled_from(["zlib", "lzma"]),
)
def test_whatever_is_published_fits(
    tmp_path_factory: pytest.TempPathFactory, piece: str, times: int, compression: str
) -> None:
    store = _store(tmp_path_factory.mktemp("store"), compression=compression)

    assert limits.size(store.fit(_text(piece * times))) <= 128_000


def test_two_publishes_of_one_message_have_objects_of_their_own(tmp_path: Path) -> None:
    store, text = _store(tmp_path), _text(_noise(200_000))
    keys = {claim_check.key_of(json.loads(store.fit(text))) for _ in range(3)}

    assert len(keys) == 3


@pytest.mark.parametrize("name", ["zlib", "bzip2", "lzma"])
def test_compression_is_for_what_would_not_fit_and_nobody_sees_it(name: str) -> None:
    squeezing = ClaimChecks(Options(compression=name), "account")
    short, long = _text("x" * 100_000), _text("xé" * 100_000, compression=None)

    assert squeezing.fit(short) == short
    assert limits.size(squeezing.fit(long)) < 10_000
    assert envelope.decode(_pulled(squeezing.fit(long))) == envelope.decode(_pulled(long))
    assert _body(squeezing.fit(long)) == ("xé" * 100_000).encode()


@pytest.mark.parametrize("name", ["zlib", "bzip2", "lzma"])
def test_an_older_process_takes_it_for_a_message_that_kombu_compressed(name: str) -> None:
    squeezing = ClaimChecks(Options(compression=name), "account")
    older = json.loads(squeezing.fit(_text("xé" * 100_000)))
    del older[envelope.COMPRESSED_KEY]

    assert _body(envelope.encode(older)) == ("xé" * 100_000).encode()


def test_bytes_are_compressed_as_bytes() -> None:
    squeezing = ClaimChecks(Options(), "account")
    message = _message(base64.b64encode(b"\xff" * 200_000).decode())
    message["properties"]["body_encoding"] = "base64"

    assert _body(squeezing.fit(envelope.encode(message))) == b"\xff" * 200_000


def test_what_was_compressed_already_is_not_again_and_is_refused() -> None:
    squeezing = ClaimChecks(Options(), "account")

    with pytest.raises(MessageTooLarge):
        squeezing.fit(_text("x" * 200_000, compression="application/x-gzip"))


def test_what_compression_does_not_make_fit_is_stored_compressed(tmp_path: Path) -> None:
    store = _store(tmp_path)
    body = "".join(map(str, range(200_000)))
    small = store.fit(_text(body))
    (kept,) = (tmp_path / "large-messages").iterdir()
    read = _read(store, small)

    assert kept.stat().st_size < len(body) * 0.7
    assert "compression" not in read["headers"]
    assert _body(envelope.encode(read)) == body.encode()


def test_a_message_that_would_be_refused_when_decompressed_is_not_compressed(
    tmp_path: Path,
) -> None:
    most, beyond = (_text("x" * (limits.MAX_DECOMPRESSED + more)) for more in (0, 1))
    nowhere = ClaimChecks(Options(compression="lzma"), "account")

    assert len(_body(nowhere.fit(most))) == limits.MAX_DECOMPRESSED
    with pytest.raises(MessageTooLarge):
        nowhere.fit(beyond)
    store = _store(tmp_path)
    assert len(_read(store, store.fit(beyond))["body"]) == limits.MAX_DECOMPRESSED + 1


def _compressed(data: bytes, name: str = "application/x-gzip", **more: Any) -> dict[str, Any]:
    message = _message(base64.b64encode(data).decode(), compression=name)
    return {**message, "compressed": {"body_encoding": "utf-8"}, **more}


@pytest.mark.parametrize("compress, name", [
    (zlib.compress, "application/x-gzip"),
    (bz2.compress, "application/x-bz2"),
    (lzma.compress, "application/x-lzma"),
])  # fmt: skip
def test_a_bomb_is_unreadable_and_takes_no_memory(
    compress: Callable[[bytes], bytes], name: str
) -> None:
    text = envelope.encode(_compressed(compress(bytes(4 * limits.MAX_DECOMPRESSED)), name))
    assert limits.size(text) < 128_000
    tracemalloc.start()
    try:
        with pytest.raises(envelope.Undecodable, match="more than 16,384,000 bytes"):
            envelope.decode(_pulled(text))
        assert tracemalloc.get_traced_memory()[1] < 3 * limits.MAX_DECOMPRESSED
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("message", [
    _compressed(zlib.compress(b"x" * 1000)[:-9]),
    _compressed(b"none"),
    _compressed(b"none", "application/x-bz2"),
    _compressed(b"none", "application/x-lzma"),
    _compressed(zlib.compress(b"\xff")),
    _compressed(b"none", "squeeze"),
    _compressed(zlib.compress(b"x"), body="?"),
    _compressed(zlib.compress(b"x"), body=None),
    _compressed(zlib.compress(b"x"), body=["x"]),
    _compressed(zlib.compress(b"x"), headers={}),
    _compressed(zlib.compress(b"x"), headers={"compression": ["x"]}),
    *(_compressed(zlib.compress(b"x"), compressed=each) for each in (1, "x", [], {}, True)),
])  # fmt: skip
def test_what_can_t_be_decompressed_is_unreadable(message: dict[str, Any]) -> None:
    with pytest.raises(envelope.Undecodable) as caught:
        envelope.decode(_pulled(envelope.encode(message)))
    assert "\n" not in str(caught.value)


def test_an_object_that_is_gone_is_told_from_a_store_that_fails(tmp_path: Path) -> None:
    store, elsewhere = _store(tmp_path / "a"), _store(tmp_path / "b")
    small = store.fit(_text(_noise(200_000)))

    for other in (elsewhere, ClaimChecks(Options(), "account")):
        error = _read(other, small)
        assert isinstance(error, ObjectStoreError)
        assert not isinstance(error, ObjectMissing)
        assert "large_messages is" in str(error)
    (file,) = (tmp_path / "a" / "large-messages").iterdir()
    file.unlink()
    assert isinstance(_read(store, small), ObjectMissing)


@pytest.mark.parametrize("key", ["secret", "large-messages/../secret", "", None, 3])
def test_a_forged_reference_reads_and_removes_nothing_else(tmp_path: Path, key: Any) -> None:
    (tmp_path / "secret").write_text(_text("x"))
    store = _store(tmp_path)
    forged = json.loads(store.fit(_text(_noise(200_000))))
    forged["large"]["key"] = key

    assert isinstance(_read(store, json.dumps(forged)), envelope.Undecodable)
    assert claim_check.key_of(forged) is None


def test_a_store_that_refuses_fails_the_publish(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(PublishFailed, match="can't write"):
        _store(tmp_path / "file").fit(_text(_noise(200_000)))


def test_a_message_that_waits_for_long_has_its_object_renewed(tmp_path: Path) -> None:
    store = _store(tmp_path)
    small = store.fit(_text(_noise(200_000)))
    fresh = envelope.decode(_pulled(small))
    (file,) = (tmp_path / "large-messages").iterdir()
    before = file.stat().st_ino
    assert store.renew(fresh, small) == small
    assert file.stat().st_ino == before

    old = json.loads(small)
    old["large"]["at"] -= 8 * 86_400
    renewed = store.renew(old, json.dumps(old))

    assert file.stat().st_ino != before, "it was written again, under its key"
    assert json.loads(renewed)["large"]["at"] >= fresh["large"]["at"]
    assert _read(store, renewed)["body"] == _noise(200_000)


def test_what_has_ended_is_removed_and_closing_waits_for_it(tmp_path: Path) -> None:
    store = _store(tmp_path)
    keys = [claim_check.key_of(json.loads(store.fit(_text(_noise(200_000))))) for _ in range(3)]
    store.discard([key for key in keys[:2] if key])
    store.close(10)

    (left,) = (tmp_path / "large-messages").iterdir()
    assert f"large-messages/{left.name}" == keys[2]


def test_a_store_without_credentials_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("R2_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("R2_SECRET_ACCESS_KEY", raising=False)

    with pytest.raises(ConfigurationError, match="R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY"):
        ClaimChecks(Options(large_messages="r2://bucket/x"), "account")
