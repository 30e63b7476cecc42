"""Every output has a media type."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from cutmv.media import Kind, OutputSpec, output_extension
from cutmv.media.products.containers import CONTAINERS
from cutmv.worker.making import CONTENT_TYPES
from tests.support.jobs import video_info


def test_every_output_has_a_media_type() -> None:
    specs = [OutputSpec(kind, "source", "crop") for kind in get_args(Kind)]
    infos = [video_info()]
    assert infos[0].video
    infos += [replace(infos[0], video=replace(infos[0].video, transparent=True, pix_fmt="rgba"))]
    extensions = {output_extension(info, spec) for info in infos for spec in specs}

    assert extensions | CONTAINERS.keys() == CONTENT_TYPES.keys()
