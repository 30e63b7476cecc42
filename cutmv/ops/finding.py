"""The findings of checks, and how checks run: side by side, with one deadline for all."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

#: Seconds that all checks have together: most end in one, and a call to Cloudflare may take five.
CHECKS_TIMEOUT_S = 20.0

Mark = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was checked, what was found, and what to do about it."""

    mark: Mark
    what: str
    found: str
    advice: str = ""


#: A check yields each finding as soon as it has it.
Check = Callable[[], Iterator[Finding]]


def ok(what: str, found: str) -> Finding:
    """A finding that needs no attention."""
    return Finding("ok", what, found)


def warning(what: str, found: str, advice: str) -> Finding:
    """A finding about something that works, though not as it should."""
    return Finding("warning", what, found, advice)


def problem(what: str, found: str, advice: str) -> Finding:
    """A finding about something that does not work."""
    return Finding("problem", what, found, advice)


def skipped(what: str, found: str, advice: str = "") -> Finding:
    """A finding about something that was not checked: it is not used, or can't be reached."""
    return Finding("skipped", what, found, advice)


def run(checks: Sequence[tuple[str, Check]], timeout_s: float = CHECKS_TIMEOUT_S) -> list[Finding]:
    """Run checks side by side, for `timeout_s` seconds at most; return their findings in order.

    The name of a check stands in the finding of one that fails or gives no answer in time.
    """
    running = [_Running(name, check) for name, check in checks]
    until = time.monotonic() + timeout_s
    return [finding for each in running for finding in each.findings(until)]


class _Running:
    """A check in a thread of its own, which is abandoned when it hangs."""

    def __init__(self, name: str, check: Check) -> None:
        self._name, self._check = name, check
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._run, name=f"check-{name}", daemon=True)
        self._thread.start()

    def findings(self, until: float) -> list[Finding]:
        """The findings up to the time `until`, of the monotonic clock."""
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
            # The error's text is not shown, since it may hold a secret.
            advice = "run `cutmv doctor` again; if it stays, it is a fault of cutmv: report it"
            self._found.append(problem(self._name, f"{type(error).__name__} in the check", advice))
