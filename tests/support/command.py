"""The `cutmv` command, in this process: a second for each import of everything adds up."""

from __future__ import annotations

import os
from dataclasses import dataclass

from click.testing import CliRunner

from cutmv.cli import main
from tests.support.processes import OURS


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def cutmv(*argv: str, **env: str) -> Done:
    """Run it with these settings of ours, and no others."""
    without = {name: None for name in os.environ if name.startswith(OURS)}
    result = CliRunner().invoke(main, argv, env={**without, **env})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception  # what a person would see as a traceback
    return Done(result.exit_code, result.stdout, result.stderr)
