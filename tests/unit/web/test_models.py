"""The bodies of the JSON API: what is left out, and what is said of what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from cutmv.web.api.models import JobBody
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
        ({"colour": "red"}, "colour: there is no such field."),
        ([], "body: it must be an object."),
    ],
)
def test_a_wrong_field_is_told_of_in_no_words_of_python(given: Any, line: str) -> None:
    with pytest.raises(Problem) as refused:
        validated(JobBody, BODY | given if isinstance(given, dict) else given)
    assert refused.value.detail == line
