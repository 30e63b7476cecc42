"""`cutmv provision`: make the account what the deployment needs, and nothing else."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from kombu.exceptions import KombuError

from cutmv.config import ConfigError, Settings
from cutmv.ops import bucket as buckets
from cutmv.ops.client import client_of, options_of
from cutmv.ops.plan import Change, Fine, Item, LeftAlone, show
from cutmv.ops.queues import Queues
from cutmv.storage import StorageError
from cutmv.terminal import print_json, printable
from cutmv.transports.cloudflare.options import Options

#: A plan's marks, by what is to be done, and what has been done then.
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

    They are what the settings ask for. What is there already is changed where it must be, and
    otherwise left; nothing is ever deleted. A second run finds nothing to do. Exit codes: 0 done,
    1 failed or something is left that only you may change, 2 bad usage.
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


@contextmanager
def planned(settings: Settings, origins: Sequence[str] = ()) -> Iterator[list[Item]]:
    """Yield what the account has and lacks; its changes can be applied until the end.

    Raises ConfigError, or what asking the account raises.
    """
    options = options_of(settings)
    if options is None and not settings.uses_r2:
        raise ConfigError(
            "There is nothing to provision: set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN for"
            " queues, R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY for a bucket."
        )
    items: list[Item] = []
    client = None if options is None else client_of(settings, options)
    try:
        if client is None or options is None:
            advice = "set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN to have them"
            items.append(LeftAlone("queues", f"the mode is {settings.mode}", advice))
        else:
            items += Queues(client, options, settings.queue_names).plan()
        if settings.uses_r2:
            items += _bucket(settings, options, origins)
        else:
            advice = "set R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY to keep files in R2"
            items.append(LeftAlone("bucket", "R2_ACCESS_KEY_ID is not set", advice))
        yield items
    finally:
        if client is not None:
            client.close()


def _bucket(settings: Settings, options: Options | None, origins: Sequence[str]) -> Sequence[Item]:
    try:
        allowed = buckets.origins(settings, origins)
        return buckets.Bucket(settings, options, allowed).plan()
    except buckets.BucketDenied:
        # Workers should have such a key; the queues need not wait for another.
        why = "this R2 key may not administer it"
        advice = "run this once with an R2 key of the kind Admin Read & Write"
        return [LeftAlone(f"bucket {settings.r2_bucket}", why, advice, blocks=True)]


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
