"""`cutmv provision`: make the account what the deployment needs, and nothing else."""

import sys
from collections.abc import Sequence
from typing import Any

import click
from kombu.exceptions import KombuError

from cutmv.cli.output import print_json, printable
from cutmv.config import ConfigError, Settings
from cutmv.ops import Change, Fine, Item, LeftAlone, planned, show
from cutmv.storage import StorageError

#: By what is to be done: the mark of the line, its colour, and what has been done then.
MARKS = {"add": ("+", "green", "added"), "change": ("~", "yellow", "changed")}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="A site whose pages may read the bucket, beside that of WEBHOOK_URL; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def provision(*, dry_run: bool, origins: tuple[str, ...], as_json: bool) -> None:
    """Create or correct queues, consumers and the bucket.

    The settings say what is needed. What exists is changed where it must be and otherwise left;
    nothing is deleted. A second run finds nothing to do. Exit codes: 0 done, 1 failed or something
    is left that only you may change, 2 bad usage.
    """
    items: list[Item] = []
    done: list[Change] = []
    notes: list[str] = []
    failure = None
    try:
        with planned(Settings.from_env(), origins) as items:
            if not as_json:
                _show(items)
            for change in [] if dry_run else _changes(items):
                note = change.apply()
                done.append(change)
                notes += [note] if note else []
                if not as_json:
                    click.echo(f"{change.what}: {note or MARKS[change.action][2]}")
    except (ConfigError, KombuError, StorageError) as error:
        failure = printable(str(error))
    if as_json:
        _print_document(items, done, notes, failure)
    if failure is not None:
        left = f" ({len(done)} of {len(_changes(items))} done; run it again)" if done else ""
        click.echo(f"Error: {failure}{left}", err=True)
    if failure is not None or any(isinstance(item, LeftAlone) and item.blocks for item in items):
        sys.exit(1)


def _changes(items: Sequence[Item]) -> list[Change]:
    return [item for item in items if isinstance(item, Change)]


def _show(items: Sequence[Item]) -> None:
    for item in items:
        match item:
            case Change():
                mark, colour, _ = MARKS[item.action]
                click.echo(f"{click.style(mark, fg=colour)} {printable(item.what)}")
                for each in item.differences:
                    old = "" if item.action == "add" else f"{show(each.old)} → "
                    click.echo(printable(f"    {each.name}: {old}{show(each.new)}"))
            case LeftAlone():
                mark = click.style("!", fg="red") if item.blocks else "-"
                line = f"{item.what}: left alone, since {item.why} → {item.advice}"
                click.echo(f"{mark} {printable(line)}")
            case Fine():
                pass
    actions = [change.action for change in _changes(items)]
    if actions:
        adds, changes = actions.count("add"), actions.count("change")
        click.echo(f"Plan: {adds} to add, {changes} to change.")
    else:
        click.echo("No changes.")


def _print_document(
    items: Sequence[Item], done: Sequence[Change], notes: Sequence[str], failure: str | None
) -> None:
    def document(change: Change) -> dict[str, Any]:
        return {
            "action": change.action,
            "what": change.what,
            "settings": {
                each.name: {"old": each.old, "new": each.new} for each in change.differences
            },
            "done": change in done,
        }

    left = [
        {"what": item.what, "why": item.why, "advice": item.advice, "blocks": item.blocks}
        for item in items
        if isinstance(item, LeftAlone)
    ]
    print_json(
        changes=[document(change) for change in _changes(items)],
        left_alone=left,
        notes=list(notes),
        error=failure,
    )
