"""`cutmv remote`: send videos to a server, have them cut there, and fetch what was made."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from cutmv.cli.output import (
    Table,
    output_option,
    overwrite_option,
    print_json,
    print_table,
    printable,
    progress_bars,
)
from cutmv.cli.products import WithProducts, product_options
from cutmv.cli.remote.errors import api_errors
from cutmv.cli.remote.webhooks import webhooks
from cutmv.client import Client, Job, Upload
from cutmv.jobs import Wanted

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
@click.option(
    "--url",
    envvar="CUTMV_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    help="The server.",
)
@click.option(
    "--key",
    envvar="CUTMV_API_KEY",
    show_envvar=True,
    help="An API key, where people sign in. Rather in the environment: others see options.",
)
@click.pass_context
def remote(ctx: click.Context, url: str, key: str | None) -> None:
    """Work on a server: upload videos, cut them there, watch jobs, download results."""
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url {url!r} must start with http:// or https://.")
    ctx.obj = ctx.with_resource(Client(url, key))


remote.add_command(webhooks)


@remote.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.pass_obj
def upload(client: Client, files: tuple[Path, ...]) -> None:
    """Send FILES, and print the id of each. One that broke goes on where it was."""
    for file in files:
        with api_errors():
            click.echo(f"{_upload(client, file).id}  {printable(file.name)}")


@remote.command(cls=WithProducts)
@click.argument("source", metavar="FILE|UPLOAD")
@click.option(
    "--clip",
    "clips",
    multiple=True,
    metavar="START-END",
    help="A clip, as `cutmv cut` takes it. May be repeated.",
)
@click.option(
    "--clips",
    "lists",
    multiple=True,
    type=click.File(),
    metavar="FILE",
    help="A list of clips, - for standard input. May be repeated.",
)
@product_options
@click.option("--wait/--no-wait", default=True, help="Wait for the results, and download them.")
@output_option
@overwrite_option
@click.pass_obj
def cut(
    client: Client,
    source: str,
    *,
    clips: tuple[str, ...],
    lists: tuple[Any, ...],
    wanted: Wanted,
    wait: bool,
    folder: Path,
    overwrite: bool,
) -> None:
    """Cut FILE, which is sent first, or an UPLOAD by its id, into clips.

    Exit codes: 0 done, 1 failed, 2 bad usage.
    """
    with api_errors():
        path = Path(source)
        sent = _upload(client, path) if path.is_file() else client.uploaded(source)
        told: dict[str, Any] = asdict(wanted)
        if lists:
            told["clip_list"] = "\n".join(each.read() for each in lists)
        job = client.cut(sent.id, clips, **told)
        click.echo(f"job {job.id}", err=wait)
        if wait:
            _fetch(client, _watch(client, job.id), folder, overwrite=overwrite)


@remote.command()
@click.argument("job")
@click.pass_obj
def watch(client: Client, job: str) -> None:
    """Show how far JOB is until it has ended; exit code 1 unless all of it is done."""
    with api_errors():
        _refuse_failed(_watch(client, job))


@remote.command()
@click.argument("job")
@output_option
@overwrite_option
@click.pass_obj
def download(client: Client, job: str, *, folder: Path, overwrite: bool) -> None:
    """Download what JOB has made."""
    with api_errors():
        _fetch(client, client.job(job), folder, overwrite=overwrite)


@remote.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1))
@click.pass_obj
def jobs(client: Client, *, as_json: bool, limit: int) -> None:
    """List the latest jobs, the newest first."""
    with api_errors():
        latest = [job for job, _ in zip(client.jobs(), range(limit), strict=False)]
    if as_json:
        print_json(jobs=[asdict(job) for job in latest])
        return
    table = Table(("job", "state", "file"), ("%", "outputs"))
    for job in latest:
        table.add(job.id, job.state, job.filename, round(job.percent), len(job.outputs))
    print_table(table)


@remote.command()
@click.argument("job")
@click.pass_obj
def cancel(client: Client, job: str) -> None:
    """Cancel what of JOB has not ended; its results stay."""
    with api_errors():
        click.echo(client.cancel(job).state)


def _upload(client: Client, file: Path) -> Upload:
    with progress_bars() as bars:
        bar = bars.add_task(escape(printable(file.name)), total=file.stat().st_size)
        return client.upload(file, progressed=lambda sent: bars.update(bar, completed=sent))


def _watch(client: Client, job_id: str) -> Job:
    """Show a bar for each step until the job has ended; returns it."""
    with progress_bars() as bars:
        of_step: dict[str, Any] = {}
        for job in client.watch(job_id):
            for step in job.steps:
                if step.id not in of_step:
                    title = escape(printable(f"{step.clip} {step.kind}"))
                    of_step[step.id] = bars.add_task(title, total=100.0)
                bars.update(of_step[step.id], completed=step.percent)
    return job


def _fetch(client: Client, job: Job, folder: Path, *, overwrite: bool) -> None:
    for path in client.download(job, folder, overwrite=overwrite):
        click.echo(os.fspath(path))
    _refuse_failed(job)


def _refuse_failed(job: Job) -> None:
    if job.state in ("failed", "cancelled"):
        told = next((step.error for step in job.steps if step.error), job.error)
        raise click.ClickException(f"The job {job.state}: {printable(told or 'nobody says why')}")
