"""The examples run as their own words say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.emulator import EmulatorProcess
from tests.support.transport import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_ten_line_app_sends_and_runs_its_task(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    env = {**os.environ, **emulator.env()}
    argv = [sys.executable, "-m", "celery", "-A", "app", "worker", "--loglevel", "INFO", "-c", "1"]
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        worker = subprocess.Popen(argv, env=env, cwd=EXAMPLES, stdout=out, stderr=out)
    try:
        subprocess.run([sys.executable, "app.py"], env=env, cwd=EXAMPLES, check=True, timeout=60)
        wait_until(lambda: "succeeded in" in log.read_text(), 40, "the task ran")
        assert log.read_text().strip().endswith(": 5")
    finally:
        worker.terminate()
        worker.wait(20)
