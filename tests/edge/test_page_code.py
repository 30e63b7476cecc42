"""The page's scripts: their own tests, their types and their lint, by the edge Worker's tools."""

from __future__ import annotations

import gzip
import re

import pytest

from tests.support.edge_worker import ROOT, install, run_tool

pytestmark = pytest.mark.edge

TESTS = ROOT / "tests" / "page"
SCRIPTS = ROOT / "cutmv" / "web" / "static"
#: Bytes of all that a page loads, compressed, at most: media come on top.
MOST_BYTES = 150_000


@pytest.fixture(autouse=True, scope="module")
def tools() -> None:
    install()


def test_the_page_s_modules_do_what_their_tests_say() -> None:
    done = run_tool("node", "--test", *map(str, sorted(TESTS.glob("*.test.js"))))

    assert done.returncode == 0, done.stdout
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed and int(passed[1]) >= 18


def test_the_page_s_scripts_have_the_types_that_they_say() -> None:
    checked = run_tool("tsc", "--project", str(TESTS))

    assert checked.returncode == 0, checked.stdout


def test_the_page_s_scripts_have_no_finding_of_the_linter() -> None:
    checked = run_tool(
        "biome", "lint", f"--config-path={TESTS}", "--error-on-warnings", str(SCRIPTS)
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_page_is_small() -> None:
    files = [each for each in SCRIPTS.rglob("*") if each.suffix in (".js", ".css", ".svg")]
    bytes_of = {each.name: len(gzip.compress(each.read_bytes())) for each in files}
    assert sum(bytes_of.values()) <= MOST_BYTES, bytes_of
