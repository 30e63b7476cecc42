"""`cutmv cut`: cut clips of a local video, without a server."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import Progress, TaskID

from cutmv.cli.clip_lists import read_clips
from cutmv.cli.output import printable, progress_bars
from cutmv.cli.products import WithProducts, product_options
from cutmv.cli.signals import note_signals
from cutmv.jobs import Wanted, clip_stems, output_name, outputs_of
from cutmv.media import (
    Cancelled,
    LabelledClip,
    MediaError,
    MediaUnavailable,
    OutputSpec,
    RenderPlan,
    plan,
    probe,
    render,
    time_limit_s,
)


@click.command(cls=WithProducts)
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--clip",
    "clips",
    multiple=True,
    metavar="START-END",
    help="A clip, as seconds, MM:SS.mmm, 1m30s or HH:MM:SS:FF, from the end (-10) or to the `end`;"
    " START+LENGTH too; perhaps with a label. May be repeated.",
)
@click.option(
    "--clips",
    "lists",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="A list of clips, - for standard input: a clip and its label a line, chapters, CSV or"
    " EDL. May be repeated.",
)
@product_options
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False),
    default=".",
    show_default="this one",
    help="The folder for the results, made if missing.",
)
@click.option("--overwrite", is_flag=True, help="Replace results that are there already.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def cut(*, source: str, folder: str, overwrite: bool, as_json: bool, **wanted: Any) -> None:
    """Cut clips of INPUT here and now, without a server.

    Results are named INPUT-LABEL-SHAPE, or INPUT-NN-SHAPE for clips without a label. Exit codes: 0
    done, 1 failed, 2 bad usage.
    """
    made: list[dict[str, Any]] = []
    failure: str | None = None
    received = note_signals()

    def cancelled() -> bool:
        return bool(received)

    try:
        # All are planned before the first is cut: a mistake in the last must not waste the others.
        cuts = _plan(source, Path(folder), cancelled, **wanted)
        if not overwrite:
            _refuse_to_replace(cuts)
        Path(folder).mkdir(parents=True, exist_ok=True)
        with progress_bars() as bars:
            tasks = [bars.add_task(escape(one.title), total=100.0) for one in cuts]
            for task, one in zip(tasks, cuts, strict=True):
                made.append(_make(source, one, bars, task, cancelled, overwrite=overwrite))
    except (MediaError, MediaUnavailable) as error:
        failure = str(error)
    except Cancelled:
        failure = f"Ended by {received[0].name} before all was cut."
    except OSError as error:
        failure = f"{error.filename or folder}: {error.strerror}"
    if as_json:
        document = {"input": source, "outputs": made, "error": failure}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif failure is None:
        for output in made:
            click.echo(output["path"])
            click.echo(f"  {_how(output)}", err=True)
            for warning in output["warnings"]:
                click.echo(f"  {warning}", err=True)
    if failure is not None:
        click.echo(f"Error: {failure}", err=True)
        sys.exit(1)


@dataclass(frozen=True)
class Cut:
    """One output to make: the clip as the user wrote it and named it, how to render it, and where.

    `limit_s` is its time limit in seconds.
    """

    clip: LabelledClip
    spec: OutputSpec
    plan: RenderPlan
    path: Path
    limit_s: float

    @property
    def title(self) -> str:
        """The title of its progress bar."""
        return f"{printable(self.clip.label or self.clip.text)} {self.spec.named}"


def _plan(
    source: str,
    folder: Path,
    cancelled: Callable[[], bool],
    *,
    clips: tuple[str, ...],
    lists: tuple[str, ...],
    wanted: Wanted,
) -> list[Cut]:
    if not clips and not lists:
        raise click.UsageError("Missing option '--clip' or '--clips'.")
    info = probe(source, cancelled=cancelled)
    try:
        found = read_clips(clips, lists, info.times)
    except MediaError as error:
        raise click.UsageError(str(error)) from error
    cuts = []
    stems = clip_stems(source, [each.label for each in found])
    for each, stem in zip(found, stems, strict=True):
        for spec in outputs_of(wanted):
            path = folder / output_name(stem, spec, info)
            limit_s = time_limit_s(info, each.clip, spec)
            cuts.append(Cut(each, spec, plan(info, each.clip, spec), path, limit_s))
    return cuts


def _refuse_to_replace(cuts: list[Cut]) -> None:
    """Raise MediaError when a result is there already."""
    there = [one.path for one in cuts if os.path.lexists(one.path)]
    if there:
        others = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise MediaError(
            f"{there[0]} is there already{others}: name another folder by -o, or --overwrite."
        )


def _make(
    source: str,
    one: Cut,
    bars: Progress,
    task: TaskID,
    cancelled: Callable[[], bool],
    *,
    overwrite: bool,
) -> dict[str, Any]:
    rendered = render(
        source,
        one.plan,
        one.path,
        on_progress=lambda now: bars.update(task, completed=now.percent),
        cancelled=cancelled,
        timeout_s=one.limit_s,
        overwrite=overwrite,
    )
    bars.update(task, completed=100.0)
    ids = {"path": str(one.path), "clip": one.clip.text, "label": one.clip.label or None}
    return {**ids, "kind": one.spec.kind, "aspect": one.spec.aspect, **rendered.to_dict()}


def _how(output: dict[str, Any]) -> str:
    """In a line what of an output is copied and what is encoded."""
    frames, copied = output["frames"], output["copied"]
    encoded, parts = frames - copied, []
    if copied:
        all_of = f"all {frames}" if not encoded else f"{copied} of {frames}"
        parts.append(f"{all_of} frames copied" + (f", {encoded} encoded" if encoded else ""))
    elif frames:
        why = f" ({output['reason']})" if output["reason"] else ""
        parts.append(f"{frames} frame{'s' * (frames > 1)} encoded{why}")
    if output["sound"]:
        parts.append(f"sound {output['sound']}")
    return "; ".join(parts)
