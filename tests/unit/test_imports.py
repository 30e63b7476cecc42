"""The direction of imports: the contracts are in pyproject.toml."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path


def test_imports_point_one_way() -> None:
    # In a process of its own: the linter turns off the loggers of the one it runs in.
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_packages_use_the_public_names_of_one_another() -> None:
    root = Path(import_module("cutmv").__file__ or "").parent
    packages = {path.name for path in root.iterdir() if (path / "__init__.py").exists()}
    packages -= {"emulator", "transports"}
    private = []
    for path in (path for package in packages for path in (root / package).rglob("*.py")):
        home = path.relative_to(root).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            source = (getattr(node, "module", None) or "").split(".")
            if not isinstance(node, ast.ImportFrom) or source[0] != "cutmv" or len(source) < 2:
                continue
            if source[1] in packages - {home}:
                public = import_module(f"cutmv.{source[1]}").__all__
                names = {alias.name for alias in node.names}
                if len(source) > 2 or not names <= set(public):
                    private.append((str(path.relative_to(root)), node.module, names))
    assert private == []


TRANSPORT = "cutmv.transports.cloudflare"


def public_names(module: str) -> set[str]:
    """What others may import from a module of the transport; nothing of one inside a package."""
    found = import_module(module)
    if module in (f"{TRANSPORT}.errors", f"{TRANSPORT}.options"):
        return {name for name in vars(found) if not name.startswith("_")}
    if module == TRANSPORT:
        home = Path(found.__file__ or "").parent
        return {*found.__all__, *(each.parent.name for each in home.glob("*/__init__.py"))}
    return set(getattr(found, "__all__", ()))


def test_others_use_the_public_names_of_the_transport() -> None:
    root = Path(import_module("cutmv").__file__ or "").parent
    private = []
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[0] == "transports":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            module = getattr(node, "module", None) or ""
            if isinstance(node, ast.ImportFrom) and module.startswith(TRANSPORT):
                names = {alias.name for alias in node.names} - public_names(module)
                if names:
                    private.append((str(path.relative_to(root)), module, names))
    assert private == []


def test_the_transport_alone_pulls_in_nothing_of_the_product() -> None:
    code = (
        "import sys, cutmv.transports.cloudflare; "
        "heavy = {'flask', 'boto3', 'sqlalchemy', 'cutmv.media', 'cutmv.app'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_what_the_edge_needs_is_in_the_extra_that_its_errors_name() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extra = {
        re.split(r"\W", each)[0] for each in pyproject["project"]["optional-dependencies"]["push"]
    }
    needed = set()
    for name in ("hub_socket", "push_server"):
        source = Path(import_module(f"cutmv.transports.cloudflare.edge.{name}").__file__ or "")
        assert re.search(r'extra_missing\("[\w ]+", "push"\)', source.read_text())
        imported = re.findall(r"^    +(?:from|import) (\w+)", source.read_text(), re.MULTILINE)
        needed |= set(imported) - sys.stdlib_module_names - {"cutmv"}
    assert extra == needed


def test_celery_finds_the_app_by_the_name_of_the_package() -> None:
    code = "from celery.app.utils import find_app; print(find_app('cutmv').main)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "cutmv"
