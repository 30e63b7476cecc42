"""The `cutmv` command."""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cutmv import __version__
from cutmv.config import ConfigError, Settings
from cutmv.jobs.request import output_name, outputs_of
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
from cutmv.ops.doctor import doctor
from cutmv.ops.provision import provision
from cutmv.queues import queues
from cutmv.up import run_up, web_options

#: By which a terminal, its end, and a service manager tell a program to end.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


class Commands(click.Group):
    """Our own commands, and those that installed packages offer in `cutmv.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        offered = {point.name for point in entry_points(group="cutmv.commands")}
        return sorted({*super().list_commands(ctx), *offered})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, loaded now; its own dependencies may be missing."""
        if own := super().get_command(ctx, cmd_name):
            return own
        for point in entry_points(group="cutmv.commands", name=cmd_name):
            try:
                loaded: click.Command = point.load()
            except ModuleNotFoundError as error:
                raise click.ClickException(
                    f"`cutmv {cmd_name}` needs {error.name}: pip install 'cutmv[{cmd_name}]'"
                ) from error
            return loaded
        return None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cutmv")
def main() -> None:
    """Cut music videos: on this machine, on Redis, or on Cloudflare Queues.

    The mode is chosen from the environment: Cloudflare when CLOUDFLARE_ACCOUNT_ID and
    CLOUDFLARE_API_TOKEN are set, else Redis when REDIS_URL is, else this machine alone.
    """


main.add_command(doctor)
main.add_command(provision)
main.add_command(queues)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on; 0 takes any.")
@click.option("--concurrency", default=2, show_default=True, help="Cuts the worker runs at once.")
def up(host: str, port: int, concurrency: int) -> None:
    """Serve the web page and, with a broker, run a worker beside it."""
    sys.exit(run_up(_settings(), host, port, concurrency))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
def web(host: str, port: int) -> None:
    """Serve the web page and the API, without a worker."""
    _settings()
    argv = ["-m", "gunicorn", *web_options(host, port)]
    os.execv(sys.executable, [sys.executable, *argv])  # noqa: S606


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(celery_options: tuple[str, ...]) -> None:
    """Run a Celery worker; further options are those of `celery worker`."""
    if _settings().mode == "eager":
        raise click.ClickException(
            "There is no broker to work for: set REDIS_URL, or CLOUDFLARE_ACCOUNT_ID and"
            " CLOUDFLARE_API_TOKEN. (Without one, `cutmv up` cuts by itself.)"
        )
    argv = ["-m", "celery", "-A", "cutmv", "worker", "--loglevel", "INFO", *celery_options]
    os.execv(sys.executable, [sys.executable, *argv])  # noqa: S606


@main.command()
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
    told = _note_signals()

    def cancelled() -> bool:
        return bool(told)

    try:
        # All are planned before the first is cut: a mistake in the last must not cost the rest.
        cuts = _plan(source, Path(folder), cancelled, **wanted)
        Path(folder).mkdir(parents=True, exist_ok=True)
        with _bars() as bars:
            tasks = [bars.add_task(one.label, total=100.0) for one in cuts]
            for task, one in zip(tasks, cuts, strict=True):
                made.append(_make(source, one, bars, task, cancelled))
    except (MediaError, MediaUnavailable) as error:
        failure = str(error)
    except Cancelled:
        failure = f"Ended by {told[0].name} before all was cut."
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
    """One output to make: the clip as the user wrote it, what to render, where, in what time."""

    clip: str
    spec: OutputSpec
    plan: RenderPlan
    path: Path
    limit_s: float

    @property
    def label(self) -> str:
        """What its bar is called."""
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
    """From now on, the signals that told us to end; a cut sees them by way of `cancelled`."""
    told: list[signal.Signals] = []
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, _frame: told.append(signal.Signals(number)))
    return told


def _bars() -> Progress:
    # On standard error, so that standard output holds the result and nothing else.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _settings() -> Settings:
    try:
        return Settings.from_env()
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
