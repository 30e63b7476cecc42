"""Where outputs are written, and how they appear: whole, or not at all."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from cutmv.media.errors import MediaError


def folder_beside(destination: Path, stack: ExitStack) -> Path:
    """A folder beside an output, which also has what is written beside it, until the stack ends."""
    folder = tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.")
    return Path(stack.enter_context(folder))


def appear(partial: Path, destination: Path) -> None:
    """Give a finished file its name, unless another has it. Raises MediaError."""
    try:
        os.link(partial, destination)
    except FileExistsError:
        raise MediaError(f"There is a file named {destination.name!r} already.") from None
    except OSError:  # the file system has no links, or not here
        if destination.exists():
            raise MediaError(f"There is a file named {destination.name!r} already.") from None
        partial.replace(destination)
