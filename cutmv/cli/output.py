"""What commands print: JSON, tables, and progress bars.

Tables and bars are rich's. Tables are printed without it too, in plain columns, since `cutmv
queues` works in every installation.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress

#: Columns of a table whose output is no terminal: no cell is cut there.
UNBOUNDED_WIDTH = 240


@dataclass
class Table:
    """A table without lines, of cells that are text; `numbers` titles columns set to the right."""

    titles: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row; None is shown as a dash, and no cell may steer the terminal."""
        self.rows.append([printable("-" if cell is None else str(cell)) for cell in cells])


def print_json(*, error: str | None = None, **document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps({**document, "error": error}, ensure_ascii=False, indent=2))


def printable(text: str) -> str:
    """The text without the characters that would steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal where rich is installed."""
    try:
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text
    except ImportError:
        _print_columns(table)
        return
    shown = RichTable(box=None, pad_edge=False, header_style="bold")
    for title in table.titles:
        shown.add_column(title, overflow="fold")
    for title in table.numbers:
        shown.add_column(title, justify="right")
    for row in table.rows:
        # As Text: what others wrote is no markup.
        shown.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else UNBOUNDED_WIDTH).print(shown)


def _print_columns(table: Table) -> None:
    lines = [[*table.titles, *table.numbers], *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first_number = len(table.titles)
    for line in lines:
        cells = [
            cell.rjust(width) if place >= first_number else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def progress_bars() -> "Progress":
    """Progress bars on standard error: standard output holds the result and nothing else."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _tell_sandbox(_context: click.Context, _option: click.Parameter, given: bool) -> None:
    if given:
        from cutmv.media import sandbox_told  # other commands need no FFmpeg

        click.echo(f"Sandbox: {sandbox_told()}", err=True)


output_option = click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    show_default="this one",
    help="The folder for the results, made if missing.",
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace results that are there already."
)
verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    help="Also tell what holds FFmpeg.",
    callback=_tell_sandbox,
)
