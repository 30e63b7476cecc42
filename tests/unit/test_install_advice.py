"""Whatever tells people to install something installs CUTMV, and an extra that there is.

`cutmv` on PyPI is a package of somebody else's; ours is not published. So advice names a checkout
(`pip install '.[app]'`) or a file, and never the bare name.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cutmv.cli.main import COMMANDS, main
from cutmv.config import ConfigError, Settings
from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.leases import open_ledger
from cutmv.transports.cloudflare.messages import stores

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


@lru_cache
def provided(extra: str = "") -> set[str]:
    """The modules that an installation of CUTMV brings, with this extra or with none."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"].get(extra, ())]
    todo, found = [Requirement(each) for each in wanted], set[str]()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        extras = [*requirement.extras, ""]
        for text in metadata.requires(name) or ():
            further = Requirement(text)
            if not further.marker or any(further.marker.evaluate({"extra": e}) for e in extras):
                todo.append(further)
    return {
        module
        for module, packages in metadata.packages_distributions().items()
        if found & {canonicalize_name(each) for each in packages}
    }


def settings(tmp_path: Path, **env: str) -> str:
    """What a deployment is told whose variables ask for what is not installed."""
    with pytest.raises(ConfigError) as told:
        Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path), **env})
    return str(told.value)


def command(name: str) -> Callable[[Path], str]:
    """What a person is told who runs a command."""
    return lambda _: CliRunner().invoke(main, [name]).output


def ledger(url: str) -> Callable[[Path], str]:
    """What an app is told that names a lease ledger."""

    def told(_: Path) -> str:
        with pytest.raises(ConfigurationError) as error:
            open_ledger(url, "account", {"R2_ACCESS_KEY_ID": "a", "R2_SECRET_ACCESS_KEY": "b"})
        return str(error.value)

    return told


CLOUDFLARE = {"CLOUDFLARE_ACCOUNT_ID": "a", "CLOUDFLARE_API_TOKEN": "t"}
EDGE = {**CLOUDFLARE, "CLOUDFLARE_EDGE_KEYS": "key"}
HINTS: list[tuple[str, Callable[[Path], str]]] = [
    *((package, command(name)) for name, lazy in COMMANDS.items() for package in lazy.packages),
    ("boto3", partial(settings, **CLOUDFLARE, R2_ACCESS_KEY_ID="a", R2_SECRET_ACCESS_KEY="b")),
    ("redis", partial(settings, REDIS_URL="redis://h/0")),
    ("psycopg", partial(settings, DATABASE_URL="postgresql://h/d")),
    ("websockets", partial(settings, **EDGE, CLOUDFLARE_EDGE_URL="https://edge.example")),
    ("starlette", partial(settings, **EDGE, CLOUDFLARE_CONSUME="push")),
    ("redis", ledger("redis://h/0")),
    ("boto3", ledger("r2://bucket")),
]


@pytest.mark.parametrize(("missing", "ask"), HINTS)
def test_what_people_are_told_to_install_brings_what_is_missing(
    missing: str, ask: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> Any:
        return None if name == missing else look(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    monkeypatch.setattr(stores, "find_spec", hidden)
    monkeypatch.setitem(sys.modules, missing, None)

    told = ask(tmp_path)

    (extra,) = re.findall(r"pip install '\.\[(\w+)\]'", told)
    assert missing in provided(extra)
    assert missing not in provided(), "the bare installation has it"


def test_advice_that_names_the_stranger_s_package_is_known() -> None:
    for advice in ("pip install -U 'cutmv[push]'", 'uv add "cutmv[app]"', "install cutmv==0.1; x"):
        assert strangers(advice)
    for advice in ("pip install '.[app]' && cutmv up", "pip install 'cutmv-cloudflare[app]'"):
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
    assert "README.md" in named
