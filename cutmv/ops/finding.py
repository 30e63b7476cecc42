"""What a check found, and the running of checks side by side, each with a deadline."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

#: Seconds that all checks have: most end in one, and one call to Cloudflare may take five.
DEADLINE_S = 20.0

Mark = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, what was found, and what to do where that is not well."""

    mark: Mark
    what: str
    found: str
    advice: str = ""


#: Yields what it finds as it finds it.
Check = Callable[[], Iterator[Finding]]


def ok(what: str, found: str) -> Finding:
    """It is well."""
    return Finding("ok", what, found)


def warning(what: str, found: str, advice: str) -> Finding:
    """It works, and not as it should."""
    return Finding("warning", what, found, advice)


def problem(what: str, found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding("problem", what, found, advice)


def skipped(what: str, found: str, advice: str = "") -> Finding:
    """It was not checked: it is not asked for, or can't be seen from here."""
    return Finding("skipped", what, found, advice)


def run(checks: Sequence[tuple[str, Check]], deadline_s: float = DEADLINE_S) -> list[Finding]:
    """Run checks, named for the line of one that fails, and return their findings in order."""
    running = [_Running(name, check) for name, check in checks]
    until = time.monotonic() + deadline_s
    return [finding for each in running for finding in each.findings(until)]


class _Running:
    """A check in a thread of its own, which is left behind where it hangs."""

    def __init__(self, name: str, check: Check) -> None:
        self._name, self._check = name, check
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._run, name=f"check-{name}", daemon=True)
        self._thread.start()

    def findings(self, until: float) -> list[Finding]:
        """What it found by then."""
        self._thread.join(max(0.0, until - time.monotonic()))
        late = self._thread.is_alive()
        found = list(self._found)
        if late:
            advice = "see whether what it asks answers, and run `cutmv doctor` again"
            found.append(problem(self._name, "no answer in time", advice))
        return found

    def _run(self) -> None:
        try:
            for finding in self._check():
                self._found.append(finding)
        except Exception as error:
            # Its text is not shown: nobody has looked whether it holds a secret.
            advice = "run `cutmv doctor` again; if it stays, it is a fault of cutmv: report it"
            self._found.append(problem(self._name, f"{type(error).__name__} in the check", advice))
