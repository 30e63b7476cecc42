"""What goes wrong on the way to a server, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from cutmv.cli.output import printable
from cutmv.client import ApiError


@contextmanager
def api_errors() -> Iterator[None]:
    """End the command by what the block raises, in one line for people."""
    try:
        yield
    except ApiError as error:
        raise click.ClickException(printable(str(error))) from error
    except FileExistsError as error:
        raise click.ClickException(f"{error} Give --overwrite to replace it.") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
