"""What processes do outside of a folder, seen by strace: files they write, addresses they call."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

#: The calls by which a file is made or changed, beside those that open one, and by which somebody
#: is called.
MAKES = ("creat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat",
         "mkdir", "mkdirat", "mknodat", "truncate")  # fmt: skip
OPENS, CALLS = ("open", "openat", "openat2"), ("connect", "sendto", "sendmsg")
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE")
#: A call as strace prints it: its name, its arguments, its result.
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
#: A path among the arguments, with the folder that it is relative to.
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


def watch(logs: Path) -> list[str]:
    """The words before a command by which it is watched, with all that it starts, into a folder."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    logs.mkdir()
    calls = ",".join((*OPENS, *MAKES, *CALLS))
    # The watcher is a grandchild, so that signals to the command are signals to the command.
    return [
        *("strace", "-D", "-ff", "-qq", "-y", "--seccomp-bpf", "-e", "signal=none"),
        *("-e", f"trace={calls}", "-o", str(logs / "calls")),
    ]


def escapes(logs: Path, inside: Path) -> list[str]:
    """The calls of others, tried ones too, and the files written elsewhere than `inside`."""
    found = []
    for log in logs.iterdir():
        for line in log.read_text(errors="replace").splitlines():
            if (call := CALL.match(line)) and _escapes(*call.groups(), inside):
                found.append(line)
    return found


def _escapes(name: str, arguments: str, result: str, inside: Path) -> bool:
    if name in CALLS:
        return "sa_family=AF_INET" in arguments
    if int(result) < 0 or (name in OPENS and not WRITES.search(arguments)):
        return False
    written = [Path(folder, path) for folder, path in PATH.findall(arguments)]
    return not all(path.is_relative_to(inside) or path == Path("/dev/null") for path in written)
