"""From what a person asked for to steps."""

from __future__ import annotations

from typing import Any

import pytest

from cutmv.jobs import JobRequest, Upload, output_name, plan_job
from cutmv.media import MediaError, OutputSpec
from tests.support.jobs import video_info

UPLOAD = Upload(
    "u", "My Song (live).mov", 1, "video/quicktime", "uploads/u/source", video_info(), 0
)


def request(**wanted: Any) -> JobRequest:
    return JobRequest(upload_id="u", **{"clips": ("0-1",), **wanted})


def test_each_clip_is_made_in_each_shape_and_kind() -> None:
    job = plan_job(
        UPLOAD, request(clips=("0-1", "2-3.5"), aspects=("16:9", "9:16"), gif=True, still=True)
    )

    assert [step.name for step in job.steps] == [
        f"My_Song_live-0{clip}-{shape}"
        for clip in (1, 2)
        for shape in ("16x9.mp4", "9x16.mp4", "gif.gif", "still.jpg")
    ]
    assert [step.position for step in job.steps] == list(range(8))
    assert len({step.id for step in job.steps}) == 8
    assert (job.steps[4].start_s, job.steps[4].end_s) == (2.0, 3.5)


def test_a_shape_named_twice_is_made_once() -> None:
    assert len(plan_job(UPLOAD, request(aspects=("1:1", "1:1"))).steps) == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"clips": ()}, "at least one clip"),
        ({"aspects": ()}, "at least one shape"),
        ({"clips": ("0-1",) * 201}, "at most 200"),
        ({"clips": ("0-1", "59-61")}, "59-61"),
        ({"clips": ("61-62",)}, "past the end"),
        ({"clips": ("2-1",)}, "ends before it starts"),
        ({"clips": ("a-b",)}, "'a'"),
    ],
)
def test_a_bad_request_is_one_line_that_says_what_is_wrong(
    wanted: dict[str, Any], said: str
) -> None:
    with pytest.raises(MediaError) as caught:
        plan_job(UPLOAD, request(**wanted))

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("filename", "stem"),
    [
        ("song.mp4", "song"),
        ("../../etc/passwd", "passwd"),
        ("été à la plage.mov", "été_à_la_plage"),
        ("...", "video"),
        ("", "video"),
        ('a"b\n;rm -rf.mp4', "a_b_rm_-rf"),
        ("x" * 300 + ".mp4", "x" * 80),
    ],
)
def test_output_names_are_safe(filename: str, stem: str) -> None:
    spec = OutputSpec("cutdown", "9:16", "crop")

    assert output_name(filename, 3, spec) == f"{stem}-03-9x16.mp4"
