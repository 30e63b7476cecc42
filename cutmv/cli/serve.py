"""`cutmv up`, `web` and `worker`: a deployment's processes. `cutmv database`: its schema."""

import os
import sys

import click
from sqlalchemy.exc import SQLAlchemyError

from cutmv.cli.supervisor import supervise, web_options
from cutmv.config import ConfigError, Settings
from cutmv.database import HEAD, OtherSchema, cause, migrate, open_engine
from cutmv.progress import check_secret

#: The earliest revision of the database's schema: what versions had that knew none.
FIRST = 1

host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
)


@click.command()
@host_option
@click.option("--port", default=8000, show_default=True, help="Port to listen on; 0 takes any.")
@click.option("--concurrency", default=2, show_default=True, help="Cuts the worker runs at once.")
def up(host: str, port: int, concurrency: int) -> None:
    """Serve the web page and, with a broker, run a worker beside it."""
    sys.exit(supervise(_prepared(host), host, port, concurrency))


@click.command()
@host_option
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
def web(host: str, port: int) -> None:
    """Serve the web page and the API, without a worker."""
    _prepared(host)
    _become(["gunicorn", *web_options(host, port)])


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(celery_options: tuple[str, ...]) -> None:
    """Run a Celery worker; further options are those of `celery worker`."""
    settings = _settings()
    if settings.mode == "eager":
        raise click.ClickException(
            "There is no broker to work for: set REDIS_URL, or CLOUDFLARE_ACCOUNT_ID and"
            " CLOUDFLARE_API_TOKEN. (Without one, `cutmv up` cuts by itself.)"
        )
    _prepare(settings.database_url)
    _become(["celery", "-A", "cutmv", "worker", "--loglevel", "INFO", *celery_options])


@click.command()
@click.option(
    "--to",
    type=click.IntRange(FIRST, HEAD),
    default=HEAD,
    show_default=True,
    help="The revision to bring it to. What an earlier one has no place for is lost.",
)
def database(to: int) -> None:
    """Bring the database's schema to this version's, or to an earlier one's.

    Each start does the former. The latter is for going back to an earlier version: stop all
    processes first.
    """
    try:
        engine = open_engine(Settings.from_env().database_url)
        migrate(engine, to)
    except (ConfigError, OtherSchema) as error:
        raise click.ClickException(str(error)) from None
    except SQLAlchemyError as error:
        why = cause(error) or "it does not answer; check DATABASE_URL"
        raise click.ClickException(f"The database can't be used: {why}.") from None
    engine.dispose()
    click.echo(f"The database's schema has revision {to} of {HEAD}.")


def _become(module: list[str]) -> None:
    """Replace this process by Python that runs a module with these arguments."""
    os.execv(sys.executable, [sys.executable, "-m", *module])  # noqa: S606


def _prepare(url: str) -> None:
    """Bring the database at `url` to this version's schema, before a process starts that needs it.

    Raises ClickException when it is a newer version's. One that can't be reached, or is full, is
    left to the process, which waits for it.
    """
    try:
        open_engine(url).dispose()
    except OtherSchema as error:
        raise click.ClickException(str(error)) from None
    except SQLAlchemyError as error:
        why = cause(error)
        if why and "full" not in why:
            raise click.ClickException(f"The database can't be used: {why}.") from None


def _prepared(host: str) -> Settings:
    settings = _settings(host)
    _prepare(settings.database_url)
    return settings


def _settings(host: str = "localhost") -> Settings:
    """The settings, for a web server that listens on `host`, or a worker."""
    try:
        settings = Settings.from_env()
        check_secret(settings, host)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    return settings
