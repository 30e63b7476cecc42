"""The examples for Prometheus and Grafana, and what a server's /metrics tells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
RULES, DASHBOARD = FOLDER / "alerts.yml", FOLDER / "grafana.json"

#: A metric of ours in an expression.
METRIC = re.compile(r"\bcutmv_[a-z0-9_]+")


def expressions() -> list[str]:
    """All expressions of the rules and the dashboard."""
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + asked


def metrics_named() -> set[str]:
    """All metrics that they name."""
    return {name for expression in expressions() for name in METRIC.findall(expression)}


class Scrape:
    """What /metrics of a server tells now."""

    def __init__(self, url: str) -> None:
        answer = httpx.get(f"{url}/metrics", timeout=30.0)
        assert answer.status_code == 200, answer.text
        families = list(text_string_to_metric_families(answer.text))
        self.samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }
        self.names = {family.name for family in families} | {key[0] for key in self.samples}
        self.names |= {f"{f.name}_total" for f in families if f.type == "counter"}

    def __getitem__(self, key: str | tuple[str, ...]) -> float | None:
        return self.samples.get((key,) if isinstance(key, str) else key)
