"""The bodies of the JSON API: what is left out, and what is said of what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from cutmv.web.api.job_body import JobBody
from cutmv.web.api.problems import Problem, validated

BODY = {"upload_id": "u-1", "clips": ["0-1"]}


@pytest.mark.parametrize(
    ("given", "aspects"),
    [
        ({}, ("source",)),
        ({"gif": True}, ("source",)),
        ({"presets": ["reels"]}, ()),
        ({"canvas": "hard"}, ()),
        ({"sounds": ["mp3"]}, ()),
        ({"presets": ["reels"], "aspects": ["source"]}, ("source",)),
        ({"gif": True, "aspects": []}, ()),
    ],
)
def test_a_clip_keeps_its_shape_unless_others_are_wanted(
    given: dict[str, Any], aspects: tuple[str, ...]
) -> None:
    assert validated(JobBody, BODY | given).to_request().aspects == aspects  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("own", "aspects", "presets", "centre"),
    [
        ({}, None, None, None),
        ({"centre": [0.1, 0.2]}, ("1:1",), ("reels",), (0.1, 0.2)),
        ({"aspects": ["9:16"]}, ("9:16",), ("reels",), (0.5, 0.5)),
        ({"presets": ["tiktok"]}, (), ("tiktok",), (0.5, 0.5)),
        ({"presets": []}, ("source",), (), (0.5, 0.5)),
        ({"centre": None, "fit": None}, ("1:1",), ("reels",), (0.5, 0.5)),
    ],
)
def test_a_clip_is_made_as_the_others_but_for_its_own_wishes(
    own: dict[str, Any], aspects: Any, presets: Any, centre: Any
) -> None:
    of_job = {"aspects": ["1:1"], "presets": ["reels"], "fit": "pad"}
    clips = [{"text": "0-1", "label": "A", **own}]
    request = validated(JobBody, {"upload_id": "u-1", "wanted_clips": clips, **of_job})

    [clip] = request.to_request().wanted_clips  # type: ignore[attr-defined]

    wanted = clip.wanted
    assert (clip.text, clip.label) == ("0-1", "A")
    found = wanted and (wanted.aspects, wanted.presets, wanted.centre)
    assert found == (None if aspects is None else (aspects, presets, centre))
    if "fit" in own:
        assert wanted.fit is None


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"clips": "0-1"}, "clips: it must be a list."),
        ({"aspects": "16:9"}, "aspects: it must be a list."),
        ({"aspects": ["4:3"]}, "aspects.0: it must be '16:9', '9:16', '1:1', '4:5' or 'source'."),
        ({"gif": "yes"}, "gif: it must be true or false."),
        ({"fade_s": "long"}, "fade_s: it must be a number."),
        ({"fade_s": -1}, "fade_s: it must be 0 or more."),
        ({"gif_max_bytes": 1.5}, "gif_max_bytes: it must be a whole number."),
        ({"clip_list": 5}, "clip_list: it must be a text."),
        ({"clips": []}, "clips: it has less than 1 entries."),
        ({"clips": ["0" * 999]}, "clips.0: it has more than 200 characters."),
        ({"centre": [2, 0]}, "centre.0: it must be 1 or less."),
        ({"upload_id": "/"}, "upload_id: it has characters that it can't have."),
        ({"wanted_clips": ["0-1"]}, "wanted_clips.0: it must be an object."),
        ({"wanted_clips": [{}]}, "wanted_clips.0.text: the field is needed."),
        (
            {"wanted_clips": [{"text": "0-1", "join": True}]},
            "wanted_clips.0.join: there is no such field.",
        ),
        ({"colour": "red"}, "colour: there is no such field."),
        ([], "body: it must be an object."),
    ],
)
def test_a_wrong_field_is_told_of_in_no_words_of_python(given: Any, line: str) -> None:
    with pytest.raises(Problem) as refused:
        validated(JobBody, BODY | given if isinstance(given, dict) else given)
    assert refused.value.detail == line
