"""Proxies: small, of the whole, and bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutmv.media import plan_proxy
from tests.support.jobs import video_info


@pytest.mark.parametrize(
    ("size", "made"),
    [((1920, 1080), (640, 360)), ((1080, 1920), (360, 640)), ((320, 180), (320, 180)),
     ((1001, 333), (1000, 332))],
)  # fmt: skip
def test_a_proxy_has_the_shape_of_its_video(size: tuple[int, int], made: tuple[int, int]) -> None:
    info = video_info()
    assert info.video
    width, height = size
    video = replace(info.video, width=width, height=height, coded_width=width, coded_height=height)

    planned = plan_proxy(replace(info, video=video))

    assert (planned.width, planned.height) == made
    assert float(planned.clip.end - planned.clip.start) == 60.0


@pytest.mark.parametrize("hours", [0.01, 2, 24])
def test_a_proxy_of_any_length_is_bounded(hours: float) -> None:
    info = video_info(hours * 3600)
    bits = plan_proxy(info).spec.bit_rate

    assert bits is not None and bits <= 800_000
    assert bits / 8 * hours * 3600 <= 410_000_000
