"""What commands print: tables, and JSON."""

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Columns of a table that goes to no terminal: nothing is to be cut there.
WIDTH = 240


def print_json(*, error: str | None = None, **document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps({**document, "error": error}, ensure_ascii=False, indent=2))


def table(*titles: str) -> Table:
    """A table of these columns, without lines."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        made.add_column(title, overflow="fold")
    return made


def add_row(to: Table, *cells: object) -> None:
    """Add a row; what others say is neither markup nor may it steer the terminal."""
    to.add_row(*(Text(printable("-" if cell is None else str(cell))) for cell in cells))


def printable(text: str) -> str:
    """The text without what would steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def print_table(shown: Table) -> None:
    """Print a table, as wide as the terminal."""
    Console(width=None if sys.stdout.isatty() else WIDTH).print(shown)
