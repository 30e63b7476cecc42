"""Whatever tells people to install something installs CUTMV, and an extra that there is.

`cutmv` on PyPI is a package of somebody else's; ours is not published. So advice names a checkout
(`pip install '.[app]'`) or a file, and never the bare name.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]

#: What an installer is told to install, up to the end of its command: `pip install -U ARGUMENTS`.
INSTALLED = re.compile(r"\b(?:install(?!\s+-[dD]\b)|add|download)\s+([^\n;&|`]*)")
#: An argument that names the stranger's package: `cutmv`, `'cutmv[push]'`, `cutmv==1.0`.
STRANGER = re.compile(r"cutmv(?:\[.*|[=<>~!].*)?")
#: `'.[app]'`, `'/opt/cutmv[push,postgres]'`, `cutmv-cloudflare[r2]`: what stands in the brackets.
EXTRAS = re.compile(
    r"""(?:["'`](?:[\w./-]*/)?(?:\.|cutmv|\S+\.whl)|cutmv-cloudflare)\[(\w+(?:,\s*\w+)*)\]"""
)


def tracked() -> list[Path]:
    """The text files of this repository; history may say what was true then."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TREE,
        capture_output=True,
        check=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if name]
    skipped = {"CHANGELOG.md", "edge/package-lock.json", str(Path(__file__).relative_to(TREE))}
    files = [TREE / name for name in names if name not in skipped]
    return [path for path in files if path.is_file() and b"\0" not in path.read_bytes()]


def strangers(text: str) -> list[str]:
    """Advice in `text` that installs the package of somebody else's."""
    return [
        command[0]
        for command in INSTALLED.finditer(text)
        if any(STRANGER.fullmatch(word.strip("\"'(),.:\\")) for word in command[1].split())
    ]


@pytest.mark.parametrize(
    "advice",
    [
        "pip install cutmv",
        "`pip install cutmv`",
        "python -m pip install -U 'cutmv[push]'",
        "f\"missing: install 'cutmv[{extra}]', or unset\"",
        'uv add "cutmv[app]"',
        "pip install cutmv==0.1.0",
        "pipx install cutmv; cutmv up",
    ],
)
def test_advice_for_the_stranger_s_package_is_seen(advice: str) -> None:
    assert strangers(advice)


@pytest.mark.parametrize(
    "advice",
    [
        "pip install .",
        "pip install '.[app]' && cutmv up",
        "/opt/cutmv/.venv/bin/pip install '/opt/cutmv[app,push,postgres]'",
        "pip install cutmv_cloudflare-0.1.0-py3-none-any.whl",
        "pip install '.[push]' in a checkout of CUTMV",
        "pip install 'cutmv-cloudflare[app]'",
        "python3 -m venv .venv && .venv/bin/pip install '.[app]' && .venv/bin/cutmv up",
    ],
)
def test_advice_for_a_checkout_is_not(advice: str) -> None:
    assert not strangers(advice)


def test_nothing_tells_to_install_the_stranger_s_package() -> None:
    wrong = {
        str(path.relative_to(TREE)): advice
        for path in tracked()
        if (advice := strangers(path.read_text(errors="replace")))
    }
    assert wrong == {}


def test_every_extra_that_is_named_is_there() -> None:
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    known = set(project["optional-dependencies"])
    named: dict[str, set[str]] = {}
    for path in tracked():
        for listed in EXTRAS.findall(path.read_text(errors="replace")):
            named.setdefault(str(path.relative_to(TREE)), set()).update(re.split(r",\s*", listed))
    assert {name: extras - known for name, extras in named.items() if extras - known} == {}
    assert "README.md" in named and "Dockerfile" in named
