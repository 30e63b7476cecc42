"""Damaged files of all containers: no hang, no leak, no error that is no line for people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import mutants, mutants_by_http, watched
from tests.support.processes import wait_for

#: Of which mutants these are; `scripts/soak mutants` tries others.
SEED = 14
MANY, SENT = 500, 40


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return mutants.make_sources(tmp_path_factory.mktemp("sources"))


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_damaged_file_is_made_or_refused_in_one_line_and_leaves_nothing(
    sources: list[Path],
) -> None:
    report = mutants.try_all(sources, SEED, range(MANY))

    assert report.wrong == []
    assert report.ends.total() == MANY
    assert report.ends["made"] and report.ends["refused"], report.ends
    first, *_, last = sorted(report.memory_mb)
    assert last < 1.5 * first, report.memory_mb


@pytest.mark.slow
def test_a_damaged_file_that_is_sent_is_made_or_refused_in_one_line_and_leaves_nothing(
    sources: list[Path], tmp_path: Path
) -> None:
    report = mutants_by_http.send_all(tmp_path, sources, SEED, range(SENT))

    assert report.wrong == []
    assert report.ends.total() == SENT
    assert report.ends["made"] and report.ends["refused"], report.ends


#: Makes a file inside and one outside, calls somebody, and by a child does it again.
RUNS_AWAY = """
import os, socket, subprocess, sys
inside, outside = sys.argv[1:]
open(f"{inside}/a", "w").write("a")
os.rename(f"{inside}/a", f"{inside}/b")
open(f"{outside}/{len(sys.argv)}", "w").write("a")
socket.socket(type=socket.SOCK_DGRAM).sendto(b"a", ("127.0.0.1", 9))
try:
    socket.create_connection(("127.0.0.1", 9), 5)
except OSError:
    pass
child = "import os, sys; os.chdir(sys.argv[1]); open('child', 'w')"
subprocess.run([sys.executable, "-c", child, outside], check=True)
"""


def test_what_runs_away_is_seen(tmp_path: Path) -> None:
    inside, outside, logs = (tmp_path / name for name in ("inside", "outside", "logs"))
    inside.mkdir()
    outside.mkdir()
    command = [sys.executable, "-B", "-c", RUNS_AWAY, str(inside), str(outside)]
    subprocess.run([*watched.watch(logs), *command], check=True, timeout=60)

    def seen() -> list[str]:
        found = watched.escapes(logs, inside)
        return sorted(line.partition("(")[0] for line in found)

    wait_for(lambda: seen() == ["connect", "openat", "openat", "sendto"], what=f"{seen()}")


def test_what_a_seed_makes_is_always_the_same(sources: list[Path]) -> None:
    data = [path.read_bytes() for path in sources]
    twice = [[mutants.numbered(data, SEED, number) for number in range(50)] for _ in range(2)]

    assert twice[0] == twice[1]
    assert not set(twice[0]) & set(data)
    assert len(set(twice[0])) == 50
