"""One ZIP of many files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from cutmv.storage import ArchivedFile, zipped

CONTENTS = {"song-a.mp4": b"a" * 70_000, "Song-A.mp4": b"b", "empty.gif": b"", "é.wav": b"c" * 9}


@contextmanager
def blocks(content: bytes) -> Iterator[Iterator[bytes]]:
    yield (content[at : at + 4096] for at in range(0, len(content), 4096))


def archive(modified_s: float = 1_700_000_000) -> Iterator[bytes]:
    files = [ArchivedFile(name, partial(blocks, each)) for name, each in CONTENTS.items()]
    return zipped(files, modified_s)


def test_a_zip_holds_each_file_once_under_a_name_of_its_own() -> None:
    with zipfile.ZipFile(io.BytesIO(b"".join(archive()))) as made:
        assert made.testzip() is None
        assert made.namelist() == ["song-a.mp4", "Song-A-2.mp4", "empty.gif", "é.wav"]
        assert [made.read(name) for name in made.namelist()] == list(CONTENTS.values())
        assert made.infolist()[0].date_time == (2023, 11, 14, 22, 13, 20)


def test_it_is_made_block_by_block_and_ready_for_large_files() -> None:
    parts = list(archive())
    assert max(map(len, parts)) < 5000
    # ZIP64: a file's size is told in 64 bits, by an extra field (APPNOTE 4.5.3).
    assert parts[0][30 + len("song-a.mp4") :][:4] == b"\x01\0\x10\0"


def test_a_time_that_no_zip_can_tell_is_the_earliest() -> None:
    with zipfile.ZipFile(io.BytesIO(b"".join(archive(0)))) as made:
        assert made.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
