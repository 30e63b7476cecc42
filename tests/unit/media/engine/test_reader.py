"""What the bytes of a source tell by themselves."""

from contextlib import closing
from pathlib import Path

import pytest

from cutmv.media.engine.source.reader import expect_index, promised_size, reader

EBML = b"\x1a\x45\xdf\xa3\x84head"
SEGMENT = b"\x18\x53\x80\x67"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (EBML + SEGMENT + b"\x85" + b"\0" * 7, 19),
        (EBML + SEGMENT + b"\x01\0\0\0\0\x10\0\0", 21 + 0x100000),
        (EBML + SEGMENT + b"\x01" + b"\xff" * 7, None),  # a live recording tells none
        (EBML + SEGMENT + b"\xff" + b"\0" * 7, None),
        (EBML + SEGMENT + b"\0" * 8, None),
        (EBML + b"\xec\x80" + b"\0" * 20, None),
        (EBML, None),
        (b"", None),
    ],
)
def test_a_matroska_tells_its_size_or_none(tmp_path: Path, data: bytes, size: int | None) -> None:
    (tmp_path / "a").write_bytes(data)
    assert promised_size(reader(str(tmp_path / "a"))) == size


@pytest.mark.parametrize("size", [2**32, 2**62, 2**64 - 1])
def test_no_box_is_looked_for_behind_the_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "boxes.mp4"
    path.write_bytes(b"\0\0\0\1mdat" + size.to_bytes(8) + bytes(100))

    with closing(reader(str(path))) as source:
        expect_index(source)
        assert source.tell() == 0
