"""The room that a full disk gives up."""

from __future__ import annotations

import os
from pathlib import Path

from cutmv.storage import Ballast


def test_it_has_its_room_and_gives_it_up_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, 2_000_000)
    ballast.take_in()
    ballast.take_in()
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size == 1_000_000 <= 512 * file.stat().st_blocks

    assert ballast.give_up()
    assert not ballast.give_up()
    assert list(tmp_path.iterdir()) == []


def test_it_takes_none_of_what_is_kept_free(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    for reserve in (0, free, free + 10**9):
        Ballast(tmp_path, reserve).take_in()
    Ballast(tmp_path / "away", 2_000_000).take_in()
    assert list(tmp_path.iterdir()) == []
