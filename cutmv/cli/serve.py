"""`cutmv up`, `cutmv web` and `cutmv worker`: run the processes of a deployment."""

import os
import sys
from urllib.parse import urlsplit

import click

from cutmv.cli.supervisor import supervise, web_options
from cutmv.config import ConfigError, Settings
from cutmv.transports.cloudflare.edge import signature

host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
)


@click.command()
@host_option
@click.option("--port", default=8000, show_default=True, help="Port to listen on; 0 takes any.")
@click.option("--concurrency", default=2, show_default=True, help="Cuts the worker runs at once.")
def up(host: str, port: int, concurrency: int) -> None:
    """Serve the web page and, with a broker, run a worker beside it."""
    sys.exit(supervise(_settings(host), host, port, concurrency))


@click.command()
@host_option
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
def web(host: str, port: int) -> None:
    """Serve the web page and the API, without a worker."""
    _settings(host)
    _become(["gunicorn", *web_options(host, port)])


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(celery_options: tuple[str, ...]) -> None:
    """Run a Celery worker; further options are those of `celery worker`."""
    if _settings().mode == "eager":
        raise click.ClickException(
            "There is no broker to work for: set REDIS_URL, or CLOUDFLARE_ACCOUNT_ID and"
            " CLOUDFLARE_API_TOKEN. (Without one, `cutmv up` cuts by itself.)"
        )
    _become(["celery", "-A", "cutmv", "worker", "--loglevel", "INFO", *celery_options])


def _become(module: list[str]) -> None:
    """Replace this process by Python that runs a module with these arguments."""
    os.execv(sys.executable, [sys.executable, "-m", *module])  # noqa: S606


def _settings(host: str = "localhost") -> Settings:
    """The settings, for a web server that listens on `host`, or a worker."""
    try:
        settings = Settings.from_env()
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    ends = [host, urlsplit(settings.webhook_url).hostname if settings.webhook_url else host]
    if signature.too_short(settings.webhook_secret) and not all(map(signature.is_loopback, ends)):
        raise click.ClickException(
            f"WEBHOOK_SECRET has less than {signature.MIN_KEY_BYTES} bytes, which is allowed on"
            ' loopback alone: make one by `echo "whsec_$(openssl rand -base64 32)"`.'
        )
    return settings
