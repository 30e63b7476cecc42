"""The example alert rules and the dashboard can be loaded."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import yaml

from tests.support.monitoring import DASHBOARD, RULES, expressions


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    assert all(panel["targets"] and panel["title"] for panel in panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({(place["x"], place["y"]) for place in places}) == len(places)


def test_each_rule_says_what_is_wrong_and_who_should_care() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]

    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) > 10
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule
        assert rule["annotations"]["summary"].endswith("."), rule
    assert len(expressions()) > 30


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs Prometheus' promtool")
def test_promtool_takes_the_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
