"""Where a reader reads on and on: the picture at one place of a file, the sound at another."""

#: Runs that are known at once, and bytes that a reader may leave out of one.
MOST, GAP_BYTES = 8, 262_144


class Runs:
    """The runs of one reader, as pairs of bytes: where each began, and the first it has not had."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int]] = []

    def before(self, first: int) -> int:
        """How many bytes before this one the run began that goes on there; 0 where none does."""
        found = self._at(first)
        return first - found[0] if found else 0

    def read(self, first: int, past: int) -> None:
        """Note that bytes were read."""
        found = self._at(first)
        began, end = found or (first, past)
        if found:
            self._runs.remove(found)
        self._runs = [*self._runs[1 - MOST :], (began, max(end, past))]

    def _at(self, first: int) -> tuple[int, int] | None:
        return next(
            (each for each in reversed(self._runs) if each[0] <= first <= each[1] + GAP_BYTES), None
        )
