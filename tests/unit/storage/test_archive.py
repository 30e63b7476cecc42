"""One ZIP of many files, whole and by ranges."""

from __future__ import annotations

import io
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.storage import Archive, ArchivedFile, StorageError, crc32_of

CONTENTS = {"song-a.mp4": b"a" * 70_000, "Song-A.mp4": b"b", "empty.gif": b"", "é.wav": b"c" * 9}
#: Bytes of a file that a ZIP can tell in 64 bits alone.
LARGE = 5 << 30


def blocks_of(content: bytes, size: int = 4096) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@contextmanager
def opened(content: bytes, start: int, length: int) -> Iterator[Iterator[bytes]]:
    yield blocks_of(content[start : start + length])


def archive(modified_s: float = 1_700_000_000, contents: dict[str, bytes] = CONTENTS) -> Archive:
    files = [
        ArchivedFile(name, len(each), crc32_of(blocks_of(each)), partial(opened, each))
        for name, each in contents.items()
    ]
    return Archive(files, modified_s)


def whole(made: Archive) -> bytes:
    return b"".join(made.read())


WHOLE = whole(archive())


def test_a_zip_holds_each_file_once_under_a_name_of_its_own() -> None:
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as made:
        assert made.testzip() is None
        assert made.namelist() == ["song-a.mp4", "Song-A-2.mp4", "empty.gif", "é.wav"]
        assert [made.read(name) for name in made.namelist()] == list(CONTENTS.values())
        assert made.infolist()[0].date_time == (2023, 11, 14, 22, 13, 20)
        assert made.infolist()[0].external_attr >> 16 == 0o100644


def test_unzip_takes_it_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(WHOLE)

    done = subprocess.run(["unzip", "-q", "all.zip"], cwd=tmp_path, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "é.wav").read_bytes() == CONTENTS["é.wav"]
    assert (tmp_path / "Song-A-2.mp4").read_bytes() == b"b"


def test_its_size_is_known_before_it_is_made() -> None:
    assert archive().size == len(WHOLE)


def test_it_is_made_block_by_block() -> None:
    assert max(map(len, archive().read())) < 5000


@given(st.integers(0, len(WHOLE) + 10), st.none() | st.integers(0, len(WHOLE) + 10))
def test_any_range_has_the_bytes_of_the_whole(start: int, length: int | None) -> None:
    end = None if length is None else start + length

    assert b"".join(archive().read(start, length)) == WHOLE[start:end]


def test_its_tag_is_another_where_any_byte_is_another() -> None:
    others = [
        archive(contents=CONTENTS | {"empty.gif": b"x"}),
        archive(contents=CONTENTS | {"Song-A.mp4": b"c"}),
        archive(contents=dict(list(CONTENTS.items())[1:])),
        archive(1_700_000_002),
    ]

    assert archive().etag == archive().etag
    assert len({archive().etag, *(each.etag for each in others)}) == 5


def test_a_file_with_fewer_bytes_than_it_had_breaks_the_zip_off() -> None:
    short = ArchivedFile("a", 10, 0, partial(opened, b"short"))

    with pytest.raises(StorageError, match="5 bytes"):
        whole(Archive([short], 0))


def test_a_time_that_no_zip_can_tell_is_the_nearest() -> None:
    for told, shown in ((0, (1980, 1, 1, 0, 0, 0)), (1e11, (2107, 12, 31, 23, 59, 58))):
        with zipfile.ZipFile(io.BytesIO(whole(archive(told)))) as made:
            assert made.infolist()[0].date_time == shown


class Sought(io.RawIOBase):
    """A file whose bytes are those of an archive, each made when it is read."""

    def __init__(self, made: Archive) -> None:
        self._made, self._at = made, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._made.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        found = b"".join(self._made.read(self._at, None if size < 0 else size))
        self._at += len(found)
        return found


@contextmanager
def zeros(start: int, length: int) -> Iterator[Iterator[bytes]]:
    block = bytes(1 << 20)
    yield (block[: length - at] for at in range(0, length, 1 << 20))


def large(crc32: int) -> Archive:
    """An archive of a file whose size, and of one whose place, needs 64 bits."""
    after = ArchivedFile("after.txt", 5, zlib.crc32(b"after"), partial(opened, b"after"))
    return Archive([ArchivedFile("large.mp4", LARGE, crc32, zeros), after], 1_700_000_000)


def test_what_is_behind_four_gigabytes_is_found_without_reading_them() -> None:
    with zipfile.ZipFile(Sought(large(0))) as made:
        assert [each.file_size for each in made.infolist()] == [LARGE, 5]
        assert made.read("after.txt") == b"after"
        assert made.getinfo("after.txt").header_offset > LARGE


@pytest.mark.slow
def test_more_files_than_16_bits_count_are_all_there() -> None:
    made = archive(contents={f"{number}.jpg": b"" for number in range(70_000)})

    with zipfile.ZipFile(Sought(made)) as read:
        assert len(read.namelist()) == 70_000


@pytest.mark.slow
def test_unzip_takes_one_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    with zeros(0, LARGE) as blocks:
        made = large(crc32_of(blocks))
    before = b"".join(made.read(0, 30 + len("large.mp4") + 20))
    with (tmp_path / "all.zip").open("wb") as file:
        file.write(before)
        file.seek(len(before) + LARGE)  # a hole, whose bytes are zeros
        file.writelines(made.read(file.tell()))

    done = subprocess.run(["unzip", "-t", "all.zip"], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "No errors" in done.stdout
