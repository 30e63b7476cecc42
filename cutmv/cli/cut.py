"""`cutmv cut`: cut clips of a local video, without a server."""

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress, TaskID

from cutmv.cli.output import progress_bars
from cutmv.jobs import output_name, outputs_of
from cutmv.media import (
    Aspect,
    Cancelled,
    Fit,
    MediaError,
    MediaUnavailable,
    OutputSpec,
    RenderPlan,
    parse_clip,
    plan,
    probe,
    render,
    time_limit_s,
)

#: The signals by which a terminal, its closing, and a service manager tell a program to end.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--clip",
    "clips",
    multiple=True,
    required=True,
    metavar="START-END",
    help="A clip, as seconds, MM:SS.mmm or HH:MM:SS:FF; may be repeated.",
)
@click.option(
    "--aspect",
    "aspects",
    multiple=True,
    default=["source"],
    show_default=True,
    type=click.Choice(["source", "16:9", "9:16", "1:1"]),
    help="A shape to cut each clip in; may be repeated.",
)
@click.option(
    "--fit",
    type=click.Choice(["crop", "pad"]),
    default="crop",
    show_default=True,
    help="How a picture of another shape is made to fit.",
)
@click.option("--gif", is_flag=True, help="Also make an animated GIF of each clip.")
@click.option("--still", is_flag=True, help="Also make a still of each clip's first frame.")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False),
    default=".",
    show_default="this one",
    help="The folder for the results, made if missing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def cut(*, source: str, folder: str, as_json: bool, **wanted: Any) -> None:
    """Cut clips of INPUT here and now, without a server.

    Results are named INPUT-NN-SHAPE and replace files of that name. Exit codes: 0 done, 1 failed,
    2 bad usage.
    """
    made: list[dict[str, Any]] = []
    failure: str | None = None
    received = _note_signals()

    def cancelled() -> bool:
        return bool(received)

    try:
        # All are planned before the first is cut: a mistake in the last must not waste the others.
        cuts = _plan(source, Path(folder), cancelled, **wanted)
        Path(folder).mkdir(parents=True, exist_ok=True)
        with progress_bars() as bars:
            tasks = [bars.add_task(one.label, total=100.0) for one in cuts]
            for task, one in zip(tasks, cuts, strict=True):
                made.append(_make(source, one, bars, task, cancelled))
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
    if failure is not None:
        click.echo(f"Error: {failure}", err=True)
        sys.exit(1)


@dataclass(frozen=True)
class Cut:
    """One output to make: the clip as the user wrote it, how to render it, and where.

    `limit_s` is its time limit in seconds.
    """

    clip: str
    spec: OutputSpec
    plan: RenderPlan
    path: Path
    limit_s: float

    @property
    def label(self) -> str:
        """The label of its progress bar."""
        return f"{self.clip} {self.spec.aspect if self.spec.kind == 'cutdown' else self.spec.kind}"


def _plan(
    source: str,
    folder: Path,
    cancelled: Callable[[], bool],
    *,
    clips: tuple[str, ...],
    aspects: tuple[Aspect, ...],
    fit: Fit,
    gif: bool,
    still: bool,
) -> list[Cut]:
    info = probe(source, cancelled=cancelled)
    rate = info.video.frame_rate if info.video else None
    cuts = []
    for number, text in enumerate(clips, start=1):
        try:
            clip = parse_clip(text, rate)
        except MediaError as error:
            raise click.UsageError(str(error)) from error
        for spec in outputs_of(aspects, fit, gif, still):
            path = folder / output_name(source, number, spec)
            limit_s = time_limit_s(info, clip, spec)
            cuts.append(Cut(text, spec, plan(info, clip, spec), path, limit_s))
    return cuts


def _make(
    source: str, one: Cut, bars: Progress, task: TaskID, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    rendered = render(
        source,
        one.plan,
        one.path,
        on_progress=lambda now: bars.update(task, completed=now.percent),
        cancelled=cancelled,
        timeout_s=one.limit_s,
    )
    bars.update(task, completed=100.0)
    ids = {"path": str(one.path), "clip": one.clip}
    return {**ids, "kind": one.spec.kind, "aspect": one.spec.aspect, **asdict(rendered)}


def _note_signals() -> list[signal.Signals]:
    """A list to which each signal that tells us to end is added, from now on."""
    received: list[signal.Signals] = []
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda number, _frame: received.append(signal.Signals(number)))
    return received
