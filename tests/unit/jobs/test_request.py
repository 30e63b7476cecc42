"""From what a person asked for to steps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.jobs import (
    JobRequest,
    Upload,
    Wanted,
    WantedClip,
    clip_stems,
    output_name,
    plan_job,
)
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


def test_each_product_has_a_name_of_its_own() -> None:
    job = plan_job(
        UPLOAD,
        request(
            clips=("0-9",),
            aspects=("4:5",),
            fit="blur",
            centre=(0.2, 0.5),
            presets=("reels", "canvas"),
            canvas="rebound",
            gif_max_bytes=9_000,
            webp=True,
            still=True,
            best=True,
        ),
    )

    specs = {step.name.removeprefix("My_Song_live-01-"): step.spec for step in job.steps}
    assert list(specs) == [
        *("4x5.mp4", "reels.mp4", "canvas.mp4", "gif.gif", "webp.webp", "still.jpg")
    ]
    assert {spec.fit for spec in specs.values()} == {"blur"}
    assert {spec.centre for spec in specs.values()} == {(0.2, 0.5)}
    assert specs["canvas.mp4"].loop == "rebound"
    assert specs["gif.gif"].max_bytes == 9_000
    assert specs["still.jpg"].best


def test_a_shape_named_twice_is_made_once() -> None:
    assert len(plan_job(UPLOAD, request(aspects=("1:1", "1:1"))).steps) == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"clips": ()}, "at least one clip"),
        ({"aspects": ()}, "at least one shape"),
        ({"clips": ("0-1",) * 2001}, "at most 2000"),
        ({"clips": ("0-1", "59-61")}, "59-61"),
        ({"clips": ("61-62",)}, "past the end"),
        ({"clips": ("2-1",)}, "ends before it starts"),
        ({"clips": ("a-b",)}, "'a'"),
        ({"clip_list": "0-1\nsoon"}, "Line 2 can't be read, 'soon'"),
        ({"clip_list": "0-1 a\n" * 2000}, "at most 2000"),
        ({"presets": ("vine",)}, "no preset 'vine'"),
        ({"centre": (0.5, 1.5)}, "from 0 to 1"),
        ({"sounds": ("mp3",)}, "no sound"),
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
        ("x" * 300 + ".mp4", "x" * 100),
        # File systems count bytes: four for each of these letters, two for those.
        ("\U0001d49c" * 80 + ".mp4", "\U0001d49c" * 25),
        ("x" + "é" * 80 + ".mp4", "x" + "é" * 49),
        ("e\u0301te\u0301.mp4", "été"),
    ],
)
def test_output_names_are_safe(filename: str, stem: str) -> None:
    spec = OutputSpec("cutdown", "9:16", "crop")

    stems = clip_stems(filename, ["", "", ""])
    assert stems == [f"{stem}-01", f"{stem}-02", f"{stem}-03"]
    assert output_name(stems[2], spec, video_info()) == f"{stem}-03-9x16.mp4"


def test_labels_name_outputs_and_no_name_is_there_twice() -> None:
    labels = ["Chorus", "", "Verse 2 (live)", "chorus", "../../etc", "02", "chorus-2", "???"]

    assert clip_stems("song.mov", labels) == [
        "song-Chorus",
        "song-02",
        "song-Verse_2_live",
        "song-chorus-2",
        "song-etc",
        "song-02-2",
        "song-chorus-2-2",
        "song-08",
    ]


@given(st.lists(st.text(max_size=120) | st.sampled_from(["a", "A", "a-2", "01"]), max_size=12))
def test_whatever_the_labels_are_each_output_has_a_name_that_fits(labels: list[str]) -> None:
    spec = OutputSpec("cutdown", "9:16", "crop")
    names = [
        output_name(stem, spec, video_info()) for stem in clip_stems("\U0001d49c" * 80, labels)
    ]

    assert len({name.casefold() for name in names}) == len(labels)
    for name in names:
        assert len(name.encode()) <= 240
        assert "/" not in name
        assert name.isprintable()


def test_a_job_takes_clips_with_labels_and_a_list() -> None:
    job = plan_job(UPLOAD, request(clips=("Hook 50s..-3",), clip_list="0:00 Intro\n0:31 Verse"))

    assert [(step.name, step.clip, step.start_s, step.end_s) for step in job.steps] == [
        ("My_Song_live-Hook-source.mp4", "50s..-3", 50.0, 57.0),
        ("My_Song_live-Intro-source.mp4", "0:00-0:31", 0.0, 31.0),
        ("My_Song_live-Verse-source.mp4", "0:31-end", 31.0, 60.0),
    ]


def test_what_has_sound_gets_the_loudness_that_is_wanted() -> None:
    job = plan_job(
        UPLOAD,
        request(clips=("0-4",), presets=("reels", "canvas"), gif=True, loudness="streaming"),
    )

    assert {step.spec.named: step.spec.loudness for step in job.steps} == {
        "source": "streaming",
        "reels": "streaming",
        "canvas": None,
        "gif": None,
    }


def test_a_film_of_many_clips_is_one_step_in_each_shape() -> None:
    job = plan_job(
        UPLOAD, request(clips=("0:01-0:02 a", "4+1.5"), aspects=("source", "9:16"), join=True)
    )

    assert [step.name for step in job.steps] == [
        "My_Song_live-film-source.mp4",
        "My_Song_live-film-9x16.mp4",
    ]
    for step in job.steps:
        assert (step.clip, step.start_s, step.end_s) == ("0:01-0:02\ta\n4+1.5", 0.0, 2.5)
        assert [float(each.start) for each in step.clips(UPLOAD.info)] == [1.0, 4.0]
        assert step.spec.join
    with pytest.raises(MediaError, match="joined into films, and gif is none"):
        plan_job(UPLOAD, request(gif=True, join=True))


def test_a_clip_may_have_a_label_and_wishes_of_its_own() -> None:
    own = Wanted(aspects=("9:16",), centre=(0.2, 0.5), still=True)
    clips = (WantedClip("0-1", "Chorus: 1:00-2:00", own), WantedClip("2-3"))

    job = plan_job(UPLOAD, request(clips=("5-6",), wanted_clips=clips, clip_list="7-8 Coda"))

    assert [(step.start_s, step.spec.named, step.spec.centre) for step in job.steps] == [
        (5.0, "source", (0.5, 0.5)),
        (0.0, "9:16", (0.2, 0.5)),
        (0.0, "still", (0.2, 0.5)),
        (2.0, "source", (0.5, 0.5)),
        (7.0, "source", (0.5, 0.5)),
    ]
    assert "Chorus" in job.steps[1].name and "Coda" in job.steps[4].name


def test_clips_of_one_film_have_no_wishes_of_their_own() -> None:
    own = WantedClip("0-1", wanted=Wanted(still=True))
    with pytest.raises(MediaError, match="one film"):
        plan_job(UPLOAD, request(clips=(), wanted_clips=(own,), join=True))


def test_where_nothing_is_made_of_the_others_a_clip_may_still_be_made() -> None:
    own = WantedClip("0-1", wanted=Wanted(aspects=("1:1",)))
    job = plan_job(UPLOAD, request(clips=(), wanted_clips=(own,), aspects=()))
    assert [step.spec.aspect for step in job.steps] == ["1:1"]
