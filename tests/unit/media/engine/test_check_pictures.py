"""A still or an animation is decoded before it is given out."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cutmv.media.engine import check
from cutmv.media.engine.source.file import SourceError


@pytest.fixture
def gif(tmp_path: Path) -> Path:
    pictures = [Image.effect_noise((64, 48), 90 + number) for number in range(5)]
    path = tmp_path / "made.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    return path


def test_the_size_of_pictures_is_told(gif: Path, tmp_path: Path) -> None:
    still = tmp_path / "made.jpg"
    Image.effect_noise((62, 40), 90).save(still)

    assert check.pictures(gif, 5) == (64, 48)
    assert check.pictures(still, 1) == (62, 40)


@pytest.mark.parametrize("left", [0.02, 0.5, 0.95])
def test_what_is_not_whole_is_refused(gif: Path, left: float) -> None:
    whole = gif.read_bytes()
    gif.write_bytes(whole[: int(len(whole) * left)])

    with pytest.raises(SourceError, match="decoded") as refused:
        check.pictures(gif, 5)
    assert str(gif) not in str(refused.value)
