"""The image and docker-compose.yml open nothing by themselves, and install what is locked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TREE = Path(__file__).parents[2]
IMAGE = (TREE / "Dockerfile").read_text().splitlines()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((TREE / "docker-compose.yml").read_text())[
    "services"
]
ROOT = ("root", "0")
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
