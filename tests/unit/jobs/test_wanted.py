"""One list of options, of which the command line, the API and the page are made."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import cutmv.web
from cutmv.cli.cut import cut
from cutmv.jobs import OPTIONS, JobRequest, Wanted
from cutmv.media import presets
from cutmv.web.api.job_body import JobBody

#: What the command line asks for by a value of another option.
WITHIN = {"best": "still"}
TEMPLATE = Path(cutmv.web.__file__).with_name("templates") / "options.html"


def test_the_command_line_the_api_and_the_page_ask_for_the_same() -> None:
    names = {each.name for each in fields(Wanted)}

    of_api = set(JobBody.model_fields)
    of_command = {option.name for option in cut.params}
    of_page = TEMPLATE.read_text(encoding="utf-8")

    assert set(OPTIONS) == names
    assert {each.name for each in fields(JobRequest)} == of_api
    assert {WITHIN.get(name, name) for name in names} <= of_command
    for name in names:
        assert re.search(rf'options\.{name}\b|"{name}"', of_page), name


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_told_alike_and_has_the_same_values(name: str) -> None:
    option, schema = OPTIONS[name], JobBody.model_json_schema()["properties"][name]

    assert schema["description"] == option.asked.told
    assert option.asked.told.endswith(".")
    kinds = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
    allowed = next((each["enum"] for each in kinds if "enum" in each), None)
    if name == "presets":
        assert list(option.values) == list(presets())
    elif option.form in ("many", "one"):
        assert allowed is not None
        assert set(option.values) == set(allowed)
    else:
        assert allowed is None
