"""`docs/reliability.md` and `docs/threat-model.md`: every test that they name exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
#: A test as pytest names it.
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("document", ["reliability", "threat-model"])
def test_every_test_that_a_promise_names_exists(document: str) -> None:
    named = NAMED.findall((TREE / "docs" / f"{document}.md").read_text())
    assert len(named) > 30

    for path, name in named:
        tree = ast.parse((TREE / path).read_text())
        tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in tests, f"{path}::{name}"


def test_every_promise_names_a_test() -> None:
    rows = [
        line
        for line in (TREE / "docs" / "reliability.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| ---", "| fault", "| killed"))
    ]
    assert len(rows) > 25
    for row in rows:
        assert NAMED.search(row) or row.endswith("| the same |"), row
