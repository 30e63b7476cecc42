"""Which optional packages are installed, and what to type to get the rest.

Everything that tells a person to install something takes the words from here, so that they are
true in every message at once. Imports nothing of CUTMV.
"""

import importlib.util
from collections.abc import Iterable


def install_command(extra: str) -> str:
    """The command that installs `extra` of CUTMV, typed in a checkout of it."""
    return f"pip install '.[{extra}]'"


def missing_packages(modules: Iterable[str]) -> list[str]:
    """Those of `modules`, names of top-level modules, that are not installed. Imports none."""
    return [name for name in modules if importlib.util.find_spec(name) is None]
