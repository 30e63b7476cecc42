"""The table of environment variables: the README has it, and the source reads no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from cutmv.config import VARIABLES, Limits
from cutmv.config.limits import variable
from cutmv.transports.cloudflare.options import FROM_ENVIRONMENT

TREE = Path(__file__).parents[3]
NAMES = {variable.name for variable in VARIABLES}

#: How names of ours look, wherever they stand in the source.
OURS = re.compile(r"(?:CUTMV|CLOUDFLARE|R2|WEBHOOK|DATABASE|REDIS|XDG)_[A-Z0-9_]*[A-Z0-9]")
#: What a mapping of the environment is called in the source, and its methods that read.
MAPPINGS, READERS = {"env", "environ"}, {"get", "pop", "setdefault"}
#: Constants that hold the names of variables, which are read in a loop.
LISTS = {"PASSED_ENVIRONMENT"}


def is_environment(node: ast.AST) -> bool:
    """Whether an expression is the environment, or a mapping of it."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
    return name in MAPPINGS


def is_all(statement: ast.stmt) -> bool:
    """Whether a statement lists a module's public names, which are no variables."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return any(getattr(target, "id", None) == "__all__" for target in targets)


def texts(nodes: list[ast.expr]) -> Iterator[str]:
    """The literal strings among some expressions, and in tuples of them."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Tuple | ast.List):
            yield from texts(node.elts)


def read_by(node: ast.AST) -> Iterator[str]:
    """The names of variables that one expression or statement reads."""
    if isinstance(node, ast.Subscript) and is_environment(node.value):
        yield from texts([node.slice])
    elif isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute):
            reads = function.attr in READERS and is_environment(function.value)
            if reads or function.attr == "getenv":
                yield from texts(node.args[:1])
        if any(is_environment(argument) for argument in node.args):
            yield from filter(str.isupper, texts(node.args))  # a function that reads by name
        yield from texts([word.value for word in node.keywords if word.arg == "envvar"])
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if getattr(target, "id", None) in LISTS:
                yield from texts([node.value])
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from (node.value,) if OURS.fullmatch(node.value) else ()


def read_by_the_source() -> dict[str, Path]:
    """Each variable that the source reads, with a module that does."""
    found = {f"CLOUDFLARE_{option.upper()}": Path("options") for option in FROM_ENVIRONMENT}
    for path in sorted((TREE / "cutmv").rglob("*.py")):
        if path.name == "environment.py":
            continue
        for statement in ast.parse(path.read_text()).body:
            if not is_all(statement):
                for node in ast.walk(statement):
                    found |= dict.fromkeys(read_by(node), path)
    # WSGI's environment of a request goes by the same name; its keys are in lower case.
    return {name: path for name, path in found.items() if name.isupper()}


def test_every_variable_that_the_source_reads_is_in_the_table() -> None:
    missing = {name: path for name, path in read_by_the_source().items() if name not in NAMES}

    assert missing == {}


def test_every_variable_of_the_table_is_read() -> None:
    # httpx and urllib read these for us, in either case.
    proxies = {name for name in NAMES if name.endswith("_PROXY")}

    limits = {variable(name) for name in asdict(Limits())}  # read by the names of its fields

    assert NAMES - proxies - limits == set(read_by_the_source())


def test_the_search_finds_every_way_of_reading() -> None:
    source = """
PASSED_ENVIRONMENT = ("A1", "A2")
os.environ["B"]
os.environ.get("C")
env.get("D") or environ["E"]
os.getenv("F")
_positive(env, "G", 1)
option(envvar="H")
for name in ("CUTMV_I", "other"): env[name]
"""
    found = {name for node in ast.walk(ast.parse(source)) for name in read_by(node)}

    assert found == {"A1", "A2", "B", "C", "D", "E", "F", "G", "H", "CUTMV_I"}


def test_the_readme_has_the_table() -> None:
    settings = (TREE / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = [line for line in settings.splitlines() if line.startswith("| `")]

    assert rows == [variable.row() for variable in VARIABLES]
