"""The image and docker-compose.yml open nothing by themselves, and install what is locked.

What CI looks for before a release, it looks for.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cutmv.database import open_engine
from cutmv.jobs import Hooks
from cutmv.people import Accounts, ApiKeys

TREE = Path(__file__).parents[2]
IMAGE = (TREE / "Dockerfile").read_text().splitlines()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((TREE / "docker-compose.yml").read_text())[
    "services"
]
ROOT = ("root", "0")
#: The tools of scripts/audit, which makes it.
AUDIT = TREE / ".venv-audit"
#: The extras that the image has.
EXTRAS = ("app", "redis", "postgres", "push", "emulator", "suggest")


def locked() -> dict[str, str]:
    """The versions of requirements.lock, by name."""
    found = re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", (TREE / "requirements.lock").read_text())
    return {canonicalize_name(name): version for name, version in found}


def test_each_port_is_published_on_loopback_alone() -> None:
    ports = [port for each in SERVICES.values() for port in each.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_is_of_a_user_writes_where_it_must_and_gains_no_right(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"][0] == "/tmp"
    # The image's own user is ours.
    assert ("build" in service) != (service.get("user", "root").partition(":")[0] not in ROOT)
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_each_service_of_the_site_tells_whether_it_is_well() -> None:
    """What serves the page has the image's own check; a service that ends needs none."""
    untold = {name for name in SERVICES if "healthcheck" not in SERVICES[name]}
    assert untold == {"web", "web-cloudflare", "edge"}
    assert any(line.startswith("HEALTHCHECK") for line in IMAGE)


def test_the_image_is_of_a_user_and_serves_its_own_loopback() -> None:
    users = [line.split()[1] for line in IMAGE if line.startswith("USER")]
    assert users == ["cutmv"]
    [command] = [line for line in IMAGE if line.startswith("CMD")]
    assert command == 'CMD ["web"]'


def test_the_image_installs_by_hashes_alone() -> None:
    installs = [line for line in IMAGE if "pip install" in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    pinned = re.split(r"(?m)^(?=\S)", (TREE / "requirements.lock").read_text())
    assert all("--hash=sha256:" in each for each in pinned if "==" in each)


def test_what_is_locked_is_what_is_tested_and_all_that_the_image_needs() -> None:
    """`scripts/audit lock` writes it anew."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"]]
    for extra in EXTRAS:
        needed += project["optional-dependencies"][extra]
    names = {canonicalize_name(Requirement(each).name) for each in needed}
    versions = locked()
    assert names - {canonicalize_name(project["name"])} <= set(versions)
    tested = dict(
        re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", (TREE / "requirements-dev.txt").read_text())
    )
    for name, version in tested.items():
        assert versions.get(canonicalize_name(name), version) == version, name


def test_ci_looks_for_secrets_and_known_holes() -> None:
    commands = (TREE / ".ci" / "run").read_text().splitlines()

    assert "./scripts/audit" in commands  # `set -e`: and CI fails where that does
    assert "set -eu" in commands


def secrets_of_ours(folder: Path) -> dict[str, str]:
    """An API key and the secret of a webhook, as people get them, by what the scan calls them."""
    engine = open_engine(f"sqlite:///{folder / 'db'}")
    person = str(Accounts(engine).add("ada@example.com").id)
    _, key = ApiKeys(engine).add(person, "a program")
    _, secret = Hooks(engine).add(person, "https://example.com/")
    engine.dispose()
    return {"API key of CUTMV": key, "Secret of a webhook": secret}


@pytest.mark.slow
@pytest.mark.skipif(not AUDIT.exists(), reason="scripts/audit has not run here")
def test_the_audit_refuses_a_text_that_has_a_secret_of_ours(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("scripts/audit", "scripts/own_secrets.py", ".secrets.baseline"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, tree / name)
    (tree / AUDIT.name).symlink_to(AUDIT)
    for kind, secret in secrets_of_ours(tmp_path).items():
        (tree / f"{kind}.md").write_text(f"# How to\n\nUse {secret}, it is good for a year.\n")
    for command in (["init", "--quiet"], ["add", "--", "*.md"]):
        subprocess.run(["git", *command], cwd=tree, check=True)

    audit = subprocess.run(
        [tree / "scripts" / "audit"], capture_output=True, text=True, timeout=300
    )

    assert audit.returncode != 0
    found = re.findall(r"Secret Type: (.+)\nLocation: +(.+):3\n", audit.stdout)
    assert sorted(found) == [
        ("API key of CUTMV", "API key of CUTMV.md"),
        ("Secret of a webhook", "Secret of a webhook.md"),
    ], audit.stdout + audit.stderr
