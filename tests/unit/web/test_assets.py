"""The page's modules in one script, and how browsers keep it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cutmv.config import Settings
from cutmv.services import Services
from cutmv.web import create_app, web_of
from cutmv.web.pages import assets
from cutmv.web.pages.bundle import NotJoined, joined


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    environment = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    app = create_app(Services.open(Settings.from_env(environment)), addresses=["127.0.0.1"])
    yield app
    web_of(app).close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def write(folder: Path, **modules: str) -> Path:
    """Modules by their names; the first of them is the entry."""
    for name, code in modules.items():
        (folder / f"{name}.js").write_text(code)
    return folder / f"{next(iter(modules))}.js"


def test_a_module_comes_once_and_after_those_that_it_imports(tmp_path: Path) -> None:
    entry = write(
        tmp_path,
        main='import { a as x,\n  B } from "./one.js";\nimport * as two from "./two.js";\nx(B);',
        one='import { two } from "./two.js";\nexport const a = two;\nexport class B {}',
        two="export async function two() {}\nfunction hidden() {}",
    )

    script = joined(entry)

    assert re.findall(r"^const (module\d) =", script, re.M) == ["module0", "module1", "module2"]
    assert "const { two } = module0;" in script
    assert "const {a: x,\n  B } = module1;" in script.replace("{ a", "{a")
    assert "const two = module0;" in script
    assert "return { two };" in script
    assert "return { a, B };" in script


@pytest.mark.parametrize(
    "code",
    [
        "export default 1;",
        "export { a };",
        "export let a = 1;",
        'export * from "./other.js";',
        'import "./other.js";',
        'import other from "./other.js";',
        'import { a } from "./main.js";',
    ],
)
def test_what_the_page_does_not_use_is_refused(tmp_path: Path, code: str) -> None:
    entry = write(tmp_path, main=f"{code}\n", other="")

    with pytest.raises(NotJoined):
        joined(entry)


def test_the_page_asks_for_two_files_that_are_kept_for_ever(client: FlaskClient) -> None:
    page = client.get("/", headers={"Accept-Encoding": "gzip"})
    text = gzip.decompress(page.data).decode()
    addresses = re.findall(r'"(/assets/[^"]+)"', text)
    assert [each.rpartition("/")[2] for each in addresses] == ["style.css", "main.js"]
    for address in addresses:
        plain, packed = (
            client.get(address),
            client.get(address, headers={"Accept-Encoding": "gzip"}),
        )

        assert gzip.decompress(packed.data) == plain.data
        assert "Content-Encoding" not in plain.headers
        assert len(packed.data) < 40_000
        for answer in (plain, packed):
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["Vary"] == "Accept-Encoding"


def test_a_page_of_another_version_gets_what_there_is_and_keeps_it_not(client: FlaskClient) -> None:
    answer = client.get("/assets/0123456789abcdef/main.js")

    assert answer.data == assets.asset("main.js").body
    assert answer.headers["Cache-Control"] == "public, no-cache"
    assert client.get("/assets/0123456789abcdef/clips.js").status_code == 404


def test_what_changes_has_another_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assets, "STATIC", tmp_path)
    write(tmp_path, main="let a;")
    before = assets.asset("main.js").digest
    write(tmp_path, main="let b;")
    monkeypatch.setattr(assets, "_changed_at", lambda: -1)

    assert assets.asset("main.js").digest != before
