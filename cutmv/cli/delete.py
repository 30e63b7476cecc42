"""`cutmv delete`: uploads, jobs and outputs, for good, with or without a server that runs."""

from collections.abc import Callable

import click
from sqlalchemy.exc import SQLAlchemyError

from cutmv.config import ConfigError
from cutmv.database import OtherSchema
from cutmv.dispatch import Deleter
from cutmv.jobs import UnknownJob, UnknownUpload
from cutmv.services import services
from cutmv.storage import StorageError

_yes = click.option("--yes", "-y", is_flag=True, help="Ask no question.")


@click.group()
def delete() -> None:
    """Delete uploads, jobs and outputs for good.

    The settings are those of the server. Steps that run of what is deleted stop. What the storage
    can't delete now, a web server deletes as soon as it can.
    """


@delete.command()
@click.argument("upload_id")
@_yes
def upload(upload_id: str, *, yes: bool) -> None:
    """Delete an upload, and all jobs that were made of it."""
    _ask(yes, f"Delete upload {upload_id} and all that was made of it?")
    _delete(lambda deleter: deleter.upload(upload_id))


@delete.command()
@click.argument("job_id")
@_yes
def job(job_id: str, *, yes: bool) -> None:
    """Delete a job with its outputs."""
    _ask(yes, f"Delete job {job_id} and its outputs?")
    _delete(lambda deleter: deleter.job(job_id))


@delete.command()
@click.argument("job_id")
@click.argument("name")
@_yes
def output(job_id: str, name: str, *, yes: bool) -> None:
    """Delete the output NAME of a job."""
    _ask(yes, f"Delete {name} of job {job_id}?")
    _delete(lambda deleter: deleter.output(job_id, name))


def _ask(yes: bool, question: str) -> None:
    if not yes:
        click.confirm(question, abort=True)


def _delete(what: Callable[[Deleter], None]) -> None:
    try:
        what(Deleter(services()))
    except (UnknownJob, UnknownUpload, ConfigError, OtherSchema, StorageError) as error:
        raise click.ClickException(str(error)) from None
    except SQLAlchemyError as error:
        # Its message has statements and their values.
        told = f"The database does not answer ({type(error).__name__}); nothing was deleted."
        raise click.ClickException(told) from None
    click.echo("Deleted.")
