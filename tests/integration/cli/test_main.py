"""The group of all commands: what it lists, and what it says where packages are missing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cutmv import __version__
from cutmv.cli import main
from cutmv.cli.main import COMMANDS
from tests.support.command import cutmv, cutmv_process
from tests.support.processes import clean_env

#: What the bare installation does not have.
OPTIONAL = (
    *("boto3", "botocore", "sqlalchemy", "flask", "gunicorn", "pydantic", "rich"),
    *("prometheus_client", "ffmpeg", "redis", "psycopg", "starlette", "uvicorn", "websockets"),
)


def bare(*argv: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command where none of the optional packages can be imported."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL!r}));"
        " from cutmv.cli import main; main(prog_name='cutmv')"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        cwd=cwd,
        env=clean_env(CUTMV_DATA_DIR=str(cwd / "data"), **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def listed(shown: str) -> dict[str, str]:
    """The commands of a help text, and what it says about each, in one line."""
    rows = shown.partition("Commands:\n")[2]
    found = re.findall(r"^  (\w+) +(.*(?:\n {4,}.*)*)", rows, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = cutmv_process("--help", cwd=tmp_path).stdout

    for command in ("cut", "up", "web", "worker", "emulator"):
        assert re.search(rf"^  {command}\s", shown, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_of_its_own_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)

    assert command is not None and command.help is not None
    assert command.help.splitlines()[0] == COMMANDS[name].help


def test_help_in_a_bare_installation_says_what_each_command_needs(tmp_path: Path) -> None:
    done = bare("--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    rows = listed(done.stdout)
    assert set(rows) == set(COMMANDS)
    for name in ("cut", "up", "web", "worker"):
        assert rows[name].endswith("(needs pip install '.[app]')")
    assert rows["emulator"].endswith("(needs pip install '.[emulator]')")
    for name in ("doctor", "provision", "queues"):
        assert "pip install" not in rows[name]


def test_help_says_nothing_of_packages_that_are_there() -> None:
    assert "pip install" not in cutmv("--help").stdout


def test_the_version_is_told_in_a_bare_installation(tmp_path: Path) -> None:
    assert bare("--version", cwd=tmp_path).stdout == f"cutmv, version {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "extra"),
    [
        (["up", "--port", "0"], "app"),
        (["web"], "app"),
        (["worker", "--concurrency", "2"], "app"),
        (["cut", "song.mp4", "--clip", "0-1"], "app"),
        (["up", "--help"], "app"),
        (["emulator", "--port", "0"], "emulator"),
    ],
)
def test_a_command_that_lacks_packages_is_one_line_that_names_the_extra(
    tmp_path: Path, argv: list[str], extra: str
) -> None:
    done = bare(*argv, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr == (
        f"Error: `cutmv {argv[0]}` needs more packages: pip install '.[{extra}]'\n"
    )
    assert done.stdout == ""


def test_commands_for_the_transport_alone_work_in_a_bare_installation(tmp_path: Path) -> None:
    for name in ("doctor", "provision", "queues"):
        assert bare(name, "--help", cwd=tmp_path).returncode == 0
    done = bare("queues", "ls", cwd=tmp_path)
    assert done.returncode == 1
    assert "CLOUDFLARE_ACCOUNT_ID" in done.stderr and "Traceback" not in done.stderr


def test_the_doctor_skips_in_a_bare_installation_what_it_can_t_check(tmp_path: Path) -> None:
    done = bare("doctor", cwd=tmp_path)

    assert "Traceback" not in done.stderr
    for what in ("bucket", "database"):
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"- {what}: "))
        assert line.endswith("→ pip install '.[app]'")


def test_r2_without_its_packages_is_one_line_that_names_the_extra(tmp_path: Path) -> None:
    keys = {"R2_ACCESS_KEY_ID": "id", "R2_SECRET_ACCESS_KEY": "secret"}
    done = bare("provision", cwd=tmp_path, R2_ENDPOINT_URL="http://127.0.0.1:1", **keys)

    assert done.returncode == 1
    assert done.stderr == (
        "Error: R2_ACCESS_KEY_ID is set and the package boto3 is missing:"
        " pip install '.[app]', or unset R2_ACCESS_KEY_ID.\n"
    )
