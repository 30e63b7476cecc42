"""`cutmv suggest`: clips that a video may well be cut into, and why."""

import json
import sys
from typing import get_args

import click

from cutmv.cli.output import progress_bars
from cutmv.cli.signals import note_signals
from cutmv.media import (
    MOST_SUGGESTED,
    SHORTEST_SUGGESTED_S,
    SUGGESTED_CLIPS,
    SUGGESTED_S,
    BeginOn,
    Cancelled,
    MediaError,
    MediaUnavailable,
    analyse,
    clip_list,
    probe,
    suggest,
)


@click.command("suggest")
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--clips",
    type=click.IntRange(1, MOST_SUGGESTED),
    default=SUGGESTED_CLIPS,
    show_default=True,
    help="How many clips at most.",
)
@click.option(
    "--length",
    "length_s",
    type=click.FloatRange(SHORTEST_SUGGESTED_S),
    default=SUGGESTED_S,
    show_default=True,
    help="Seconds of each, to a whole picture.",
)
@click.option(
    "--on",
    type=click.Choice(get_args(BeginOn)),
    default="any",
    show_default=True,
    help="What clips begin on: beats, scene changes, or beats where there are any.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def suggest_command(
    *, source: str, clips: int, length_s: float, on: BeginOn, as_json: bool
) -> None:
    """Suggest clips of INPUT, the best first, each with a score and reasons.

    What is printed is a list of clips, which `cutmv cut INPUT --clips -` cuts from a pipe.
    They do not overlap, begin on a beat where there is one, and avoid black and silence.
    Exit codes: 0 done, 1 failed, 2 bad usage.
    """
    received = note_signals()
    failure: str | None = None
    try:
        info = probe(source, cancelled=lambda: bool(received))
        with progress_bars() as bars:
            task = bars.add_task("Looking and listening", total=100.0)
            analysis = analyse(
                source,
                info,
                on_progress=lambda percent: bars.update(task, completed=percent),
                cancelled=lambda: bool(received),
            )
        found = suggest(analysis, clips=clips, length_s=length_s, on=on)
    except (MediaError, MediaUnavailable) as error:
        failure = str(error)
    except Cancelled:
        failure = f"Ended by {received[0].name} before all was seen."
    if as_json:
        document = {
            "input": source,
            "notes": [] if failure else list(found.notes),
            "clips": [] if failure else [each.to_json() for each in found.clips],
            "analysis": None if failure else analysis.to_json(),
            "error": failure,
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif failure is None:
        click.echo(clip_list(found), nl=False)
    if failure is not None:
        click.echo(f"Error: {failure}", err=True)
        sys.exit(1)
