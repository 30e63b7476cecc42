"""Joins the page's modules into one script, when they are first asked for: one request, not thirty.

Each module becomes a function that returns what the module exports, after those that it imports. Of
the language's ways to import and export, it knows those that the page uses, and refuses others.
"""

import re
from pathlib import Path

#: `import { a, b as c } from "./x.js";` and `import * as x from "./x.js";`
_IMPORT = re.compile(
    r'^import\s+(?:\{(?P<names>[^}]*)\}|\*\s+as\s+(?P<all>\w+))\s+from\s+"(?P<path>[^"]+)";$',
    re.MULTILINE,
)
#: `export class X`, a function or a constant.
_EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const) ([\w$]+))", re.M)
#: What is left of other ways.
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class NotJoined(Exception):
    """A module imports or exports in a way that is not known, or a circle; one line."""


def joined(entry: Path) -> str:
    """The script of a module and of all that it imports. Raises NotJoined, OSError."""
    parts: list[str] = []
    _add(entry.resolve(), {}, (), parts)
    return "\n".join(parts)


def _add(path: Path, known: dict[Path, str], above: tuple[Path, ...], parts: list[str]) -> str:
    """Add a module after those that it imports; returns the name of what it exports."""
    if path in above:
        raise NotJoined(f"{path.name} imports itself, by others.")
    if path in known:
        return known[path]

    def imported(found: re.Match[str]) -> str:
        other = _add((path.parent / found["path"]).resolve(), known, (*above, path), parts)
        names = found["all"] or "{" + re.sub(r"\s+as\s+", ": ", found["names"]) + "}"
        return f"const {names} = {other};"

    code = _IMPORT.sub(imported, path.read_text())
    exports = _EXPORT.findall(code)
    code = _EXPORT.sub("", code)
    if other := _OTHER.search(code):
        raise NotJoined(f"{path.name}: {other[0]}")
    name = known[path] = f"module{len(known)}"
    parts.append(f"const {name} = (() => {{\n{code}\nreturn {{ {', '.join(exports)} }};\n}})();")
    return name
