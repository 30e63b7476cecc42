"""The command `cutmv emulator`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import click

from cutmv.emulator.server import ServerOptions, serve


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--db",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("cutmv-emulator.sqlite3"),
    show_default=True,
    help="SQLite file that keeps queues and messages over a restart.",
)
@click.option(
    "--latency-ms",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Milliseconds added to every call.",
)
@click.option(
    "--rate-limit/--no-rate-limit",
    default=True,
    show_default=True,
    help="Refuse more than 1,200 calls in 5 minutes, pulls and acks not counted.",
)
@click.option(
    "--api-token",
    envvar="CLOUDFLARE_API_TOKEN",
    default="emulator-token",
    help="The bearer token that is accepted.  [env: CLOUDFLARE_API_TOKEN]",
)
@click.option(
    "--read-only-token",
    default="",
    help="One more, which may look and not change: permission Queues: Read.",
)
@click.option(
    "--account-id",
    envvar="CLOUDFLARE_ACCOUNT_ID",
    default="0123456789abcdef0123456789abcdef",
    help="The one account there is.  [env: CLOUDFLARE_ACCOUNT_ID]",
)
@click.option(
    "--s3-url",
    default="",
    help="An S3 server that stands for R2: queues are told of its objects by their rules."
    "  [keys: R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY]",
)
def emulator(  # noqa: PLR0917  # click gives them by name
    host: str,
    port: int,
    db: Path,
    latency_ms: int,
    rate_limit: bool,
    api_token: str,
    read_only_token: str,
    account_id: str,
    s3_url: str,
) -> None:
    """Serve the Cloudflare Queues REST API from a local file.

    Its first line of output is the base URL; put it into CLOUDFLARE_API_BASE_URL.
    """
    options = ServerOptions(
        host, port, db, latency_ms, rate_limit, api_token, account_id, read_only_token, s3_url
    )
    try:
        serve(options, lambda url: click.echo(f"listening on {url}"))
    except ImportError as error:
        raise click.ClickException(f"--s3-url needs boto3, which is not here: {error}") from error
    except OSError as error:
        raise click.ClickException(f"can't listen on {host}:{port}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise click.ClickException(
            f"can't use {db}: {error}; is another emulator running on it?"
        ) from error
