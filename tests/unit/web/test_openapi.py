"""`cutmv.web.api.openapi`: the description is of this application and of no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import BaseModel
from werkzeug.routing import Rule

from cutmv.config import Settings
from cutmv.services import Services
from cutmv.web import create_app, web_of
from cutmv.web.access import PAGES
from cutmv.web.api.openapi import OPERATIONS, describe


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    environment = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path)}
    app = create_app(Services.open(Settings.from_env(environment)), addresses=["127.0.0.1"])
    yield app
    web_of(app).close()


def refs(node: Any) -> Iterator[str]:
    """All references in a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


def described_rules(app: Flask) -> list[Rule]:
    """All routes but files and the pages for people."""
    rules = app.url_map.iter_rules()
    return [r for r in rules if r.endpoint.partition(".")[0] not in PAGES | {"static"}]


def test_every_route_is_described_and_no_other(app: Flask) -> None:
    routes = {rule.endpoint for rule in described_rules(app)}

    assert set(OPERATIONS) == routes


def test_every_method_of_every_path_is_described(app: Flask) -> None:
    described = {
        (path, method) for path, methods in describe(app)["paths"].items() for method in methods
    }

    for rule in described_rules(app):
        path = re.sub(r"<(?:int:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert (path, method.lower()) in described


def test_every_reference_leads_to_a_schema(app: Flask) -> None:
    document = describe(app)

    found = set(refs(document))

    assert found
    for ref in found:
        assert ref.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_every_operation_has_a_summary_and_its_placeholders(app: Flask) -> None:
    for path, methods in describe(app)["paths"].items():
        for operation in methods.values():
            assert operation["summary"]
            in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert all(f"{{{name}}}" in path for name in in_path)
            assert path.count("{") == len(in_path)


def test_the_document_is_served_as_it_is(app: Flask) -> None:
    assert app.test_client().get("/api/openapi.json").get_json() == describe(app)


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("jobs.index", "/api/jobs"),
        ("uploads.index", "/api/uploads"),
        ("queue.status", "/api/queue-status"),
        ("health.healthz", "/healthz"),
    ],
)
def test_answers_are_what_the_document_says(app: Flask, endpoint: str, path: str) -> None:
    model = OPERATIONS[endpoint].answer
    assert isinstance(model, type) and issubclass(model, BaseModel)

    model.model_validate(app.test_client().get(path).get_json())


def test_an_error_on_our_side_tells_nothing_of_the_inside(app: Flask) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("the password is swordfish")

    answer = app.test_client().get("/broken")

    assert answer.status_code == 500
    assert answer.mimetype == "application/problem+json"
    assert "swordfish" not in answer.text and "RuntimeError" not in answer.text
