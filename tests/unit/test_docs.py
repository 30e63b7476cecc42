"""The docs: links lead somewhere, the glossary is in order, and words are the field's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PAGES = sorted([*TREE.glob("*.md"), *(TREE / "docs").glob("*.md")])

#: Words of our own that the field has better ones for (docs/glossary.md), in prose.
OURS = re.compile(
    r"\b(mailbox(es)?|bury|buried|graves?|parcels?|pullers?|settlers?|keepers?|rung|"
    r"(?<!dead )(?<!dead-)letters?|bands?)\b",
    re.IGNORECASE,
)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def prose(text: str) -> str:
    """A page without its code: blocks, and what stands in backticks."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = (TREE / "README.md").read_text()
    assert [page.name for page in PAGES if page.parent.name == "docs"] == [
        page.name for page in PAGES if page.parent.name == "docs" and f"(docs/{page.name}" in linked
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_words_of_the_field(page: Path) -> None:
    flowing = " ".join(prose(page.read_text()).split())
    found = [match[0] for match in OURS.finditer(flowing)]
    assert found == []


def test_the_glossary_is_alphabetical_and_one_sentence_a_term() -> None:
    text = (TREE / "docs" / "glossary.md").read_text()
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", text, re.MULTILINE)
    terms = [term for term, _ in rows]
    assert len(rows) == text.count("| **") > 40
    assert terms == sorted(terms, key=str.lower)
    assert [term for term, meaning in rows if ". " in meaning or meaning.endswith(".")] == []


def test_each_row_of_the_comparison_with_redis_names_a_test_that_exists() -> None:
    page = (TREE / "docs" / "transport.md").read_text()
    section = page.split("## Compared with Redis, feature by feature\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:2] == "| "]
    compared = [row for row in rows[2:] if len(row) == 3 and row[2].strip()]
    assert len(compared) > 50
    for _, verdict, tests in compared:
        assert re.match(r"(same|better|worse)\b", verdict), verdict
        named = re.findall(r"`(\w+\.py)::(\w+)`", tests)
        assert named, tests
        for module, test in named:
            found = [path.read_text() for path in (TREE / "tests").rglob(module)]
            assert any(f"def {test}(" in text for text in found), f"{module}::{test}"
