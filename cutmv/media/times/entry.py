"""What each form of list is made of: its lines, and the clips that they name."""

from dataclasses import dataclass

from cutmv.media.errors import MediaError
from cutmv.media.times.times import shown


class WrongLine(MediaError):
    """A line of a list that can't be read, by its number and its text, and `why`."""

    def __init__(self, number: int, text: str, why: str) -> None:
        super().__init__(f"Line {number} can't be read, {shown(text)}: {why}")
        self.number, self.text, self.why = number, text, why


@dataclass(frozen=True)
class Line:
    """A line of a list, without the space around it; `number` counts from 1."""

    number: int
    text: str

    def wrong(self, why: str) -> WrongLine:
        """The error of a line that can't be read."""
        return WrongLine(self.number, self.text, why)


@dataclass(frozen=True)
class Entry:
    """A clip of a list, as `parse_clip` reads it, and its label, perhaps empty.

    A chapter ends where the `next` line's begins.
    """

    line: Line
    clip: str
    label: str = ""
    next: Line | None = None
