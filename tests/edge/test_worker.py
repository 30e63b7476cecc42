"""What is checked without running it: types, and the configuration that is deployed."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest

import cutmv
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues.names import dead_letter_name
from tests.support.edge_worker import EDGE, ROOT, install, run_tool

pytestmark = pytest.mark.edge


@pytest.fixture(autouse=True, scope="module")
def packages() -> None:
    install()


def test_the_types_are_strict_and_right() -> None:
    assert json.loads((EDGE / "tsconfig.json").read_text())["compilerOptions"]["strict"] is True
    for project in (".", "tests"):
        checked = run_tool("tsc", "--noEmit", "--project", project)
        assert checked.returncode == 0, checked.stdout


def test_the_linter_finds_nothing() -> None:
    checked = run_tool("biome", "ci")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_unit_tests_pass() -> None:
    argv = json.loads((EDGE / "package.json").read_text())["scripts"]["test"]
    done = run_tool(*shlex.split(argv))
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)[1]) > 40


@pytest.mark.parametrize("env", ["", "production", "serverless"])
def test_wrangler_would_deploy_it(env: str, tmp_path: object) -> None:
    where = [f"--config={ROOT / 'wrangler.toml'}", f"--env={env}", f"--outdir={tmp_path}"]
    # Docker is not there to build the image.
    where += ["--containers-rollout=none"] if env == "serverless" else []
    run = run_tool("wrangler", "deploy", "--dry-run", *where)
    assert run.returncode == 0, run.stderr
    if env == "serverless":
        assert str(ROOT / "Dockerfile") in run.stdout
    for binding in ("env.HUB", "env.LEDGER", "env.QUEUE_CUTMV_PROCESSING", "env.CUTMV_STORAGE"):
        assert binding in run.stdout
    assert "warning" not in (run.stdout + run.stderr).lower()


def test_production_has_what_the_rest_has() -> None:
    config = tomllib.loads((ROOT / "wrangler.toml").read_text())
    production = config["env"]["production"]
    for table in ("queues", "r2_buckets", "durable_objects"):
        assert production[table] == config[table]
    assert config["vars"].keys() <= production["vars"].keys()


def test_serverless_has_what_the_rest_has_and_as_many_containers_as_it_says() -> None:
    config = tomllib.loads((ROOT / "wrangler.toml").read_text())
    serverless = config["env"]["serverless"]
    assert serverless["queues"]["consumers"] == config["queues"]["consumers"]
    assert serverless["r2_buckets"] == config["r2_buckets"]
    # An environment's own migrations replace the others, in whose order they were deployed.
    assert serverless["migrations"][:-1] == config["migrations"]
    bound = {each["class_name"] for each in serverless["durable_objects"]["bindings"]}
    migrated = {name for each in serverless["migrations"] for name in each["new_sqlite_classes"]}
    assert bound == migrated
    container, site = serverless["containers"]
    assert {container["class_name"], site["class_name"]} <= bound
    assert int(serverless["vars"]["CONTAINERS"]) == container["max_instances"]
    producers = {each["queue"] for each in serverless["queues"]["producers"]}
    assert set(serverless["vars"]["CONTAINER_PULLS"].split()) <= producers


def test_dead_letters_go_where_the_transport_looks_for_them() -> None:
    config = tomllib.loads((ROOT / "wrangler.toml").read_text())
    (consumer,) = config["queues"]["consumers"]
    pattern = Options().dead_letter_queue
    assert consumer["dead_letter_queue"] == dead_letter_name(consumer["queue"], pattern)


def test_one_version_for_all() -> None:
    assert json.loads((EDGE / "package.json").read_text())["version"] == cutmv.__version__


def test_packages_are_pinned() -> None:
    package = json.loads((EDGE / "package.json").read_text())
    versions = [*package["devDependencies"].values(), *package["optionalDependencies"].values()]
    assert all(version[0].isdigit() for version in versions)
    assert "dependencies" not in package
