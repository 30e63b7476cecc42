"""The processes that have secrets are closed to others of the same user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cutmv.media.sandbox.access import Access, command
from tests.support.web_server import web_server

#: Reads as much of others as it may, and prints of how many processes it read something.
READS = """
import json, sys
found = []
for path in json.loads(sys.argv[1]):
    try:
        found.append(open(path, "rb").read(1).decode("latin-1") and path)
    except OSError:
        pass
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nobody_reads_the_environment_of_a_web_server(tmp_path: Path) -> None:
    with web_server(tmp_path) as server:
        own = psutil.Process(server.process.child.pid)
        every = [own.pid, *(each.pid for each in own.children(recursive=True))]
        # As another process of this user's would: without a sandbox, and without root's rights.
        paths = [f"/proc/{pid}/{name}" for pid in every for name in ("environ", "maps")]
        argv = [sys.executable, "-I", "-S", "-c", READS, json.dumps(paths)]
        asked = command(argv, Access(), applied=["no rights of root"])
        done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30)

    assert len(every) >= 2, "gunicorn has a process that starts the others"
    assert json.loads(done.stdout) == []
