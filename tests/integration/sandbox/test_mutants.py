"""Damaged files of all containers: no hang, no leak, no error that is no line for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import mutants

#: Of which mutants these are; `scripts/soak mutants` tries others.
SEED = 14
FEW, MANY = 20, 500


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return mutants.make_sources(tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(range(FEW), id="a few"),
        pytest.param(range(FEW, MANY), id="many", marks=[pytest.mark.slow, pytest.mark.timeout(0)]),
    ],
)
def test_a_damaged_file_is_made_or_refused_in_one_line_and_leaves_nothing(
    sources: list[Path], numbers: range
) -> None:
    report = mutants.try_all(sources, SEED, numbers)

    assert report.wrong == []
    assert report.ends.total() == len(numbers)
    assert report.ends["made"] and report.ends["refused"], report.ends
    first, *_, last = sorted(report.memory_mb)
    assert last < 1.5 * first, report.memory_mb


def test_what_a_seed_makes_is_always_the_same(sources: list[Path]) -> None:
    data = [path.read_bytes() for path in sources]
    twice = [[mutants.numbered(data, SEED, number) for number in range(50)] for _ in range(2)]

    assert twice[0] == twice[1]
    assert not set(twice[0]) & set(data)
    assert len(set(twice[0])) == 50
