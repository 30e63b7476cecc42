"""docs/architecture.md: every function that a walk names exists, and no walk is too long."""

import ast
import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PAGE = (TREE / "docs" / "architecture.md").read_text()

#: The walks, and how many stops each may have.
WALKS = {
    "An upload": 10,
    "A publish": 15,
    "An acknowledgement": 8,
    "A progress event": 15,
}

ROW = re.compile(r"^\| (\d+) \| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)


def walk(name: str) -> list[tuple[str, str]]:
    """The stops of a walk: file and qualified name."""
    section = PAGE.split(f"### {name}\n")[1].split("\n### ")[0]
    rows = ROW.findall(section)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    return [(file, function) for _, file, function in rows]


def functions(path: Path) -> set[str]:
    """The qualified names of the functions and methods of a module."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


@pytest.mark.parametrize(("name", "most"), WALKS.items())
def test_a_walk_names_what_there_is_and_is_short(name: str, most: int) -> None:
    stops = walk(name)

    assert 1 < len(stops) <= most
    for file, function in stops:
        assert function in functions(TREE / file), f"{file} has no {function}"


def test_a_walk_is_never_back_where_it_was() -> None:
    for name in WALKS:
        stops = walk(name)
        assert len(set(stops)) == len(stops), name


def test_each_package_says_what_it_is_for() -> None:
    for path in sorted((TREE / "cutmv").rglob("__init__.py")):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_no_module_is_longer_than_fits_in_a_head() -> None:
    longest = 350
    for path in sorted((TREE / "cutmv").rglob("*.py")):
        assert len(path.read_text().splitlines()) <= longest, path


def test_no_folder_has_more_modules_than_one_can_know() -> None:
    most = 15
    for folder in {path.parent for path in (TREE / "cutmv").rglob("*.py")}:
        modules = [each for each in folder.glob("*.py") if each.stem != "__init__"]
        assert len(modules) <= most, folder
