"""Diagnose a deployment: run every check that its settings allow."""

from collections.abc import Iterator
from functools import partial

from kombu.exceptions import KombuError

from cutmv.config import ConfigError, Settings
from cutmv.install import install_command, missing_packages
from cutmv.ops.checks import account, ledger, machine, network, workers
from cutmv.ops.deployment import options_of
from cutmv.ops.finding import Check, Finding, problem, run, skipped
from cutmv.transports.cloudflare.options import Options

#: What the checks of the database and of stored files import, beyond the bare installation.
APP_PACKAGES = ("boto3", "sqlalchemy")


def diagnose() -> list[Finding]:
    """Check all that the deployment of this process's environment needs; changes nothing.

    Takes `finding.CHECKS_TIMEOUT_S` seconds at most. An error is a finding; none is raised.
    """
    return run(_checks())


def _checks() -> list[tuple[str, Check]]:
    """The checks, each with its name, in the order of their findings."""
    here: list[tuple[str, Check]] = [("FFmpeg", _ffmpeg), ("sandbox", machine.sandbox)]
    try:
        settings = Settings.from_env()
        options = options_of(settings)
    except (ConfigError, KombuError) as error:
        told = problem("variables", str(error), "then run `cutmv doctor` again for all the rest")
        return [("variables", lambda: iter([told])), *here]
    return [
        ("variables", partial(machine.variables, settings, options)),
        ("API token", partial(account.queues, settings, options)),
        ("bucket", partial(_bucket, settings, options)),
        ("objects of others", partial(_incoming, settings)),
        ("edge Worker", partial(network.edge, settings, options)),
        ("lease ledger", partial(ledger.ledger, settings, options)),
        ("push server", partial(machine.push_server, options)),
        (workers.WHAT, partial(workers.threads, settings, options)),
        ("webhook", partial(network.webhook, settings)),
        ("clock", partial(network.clock, options)),
        ("Redis", partial(network.redis, settings)),
        ("database", partial(_database, settings)),
        ("data directory", partial(machine.data_directory, settings)),
        *here,
    ]


def _ffmpeg() -> Iterator[Finding]:
    if missing_packages(APP_PACKAGES):
        yield _not_installed("FFmpeg")  # the transport alone needs none
        return
    yield from machine.ffmpeg()


def _bucket(settings: Settings, options: Options | None) -> Iterator[Finding]:
    if missing_packages(APP_PACKAGES):
        yield _not_installed("bucket")
        return
    from cutmv.ops.checks.bucket import bucket

    yield from bucket(settings, options)


def _incoming(settings: Settings) -> Iterator[Finding]:
    if not settings.incoming.prefix or missing_packages(APP_PACKAGES):
        return
    from cutmv.ops.checks.incoming import incoming

    yield from incoming(settings)


def _database(settings: Settings) -> Iterator[Finding]:
    if missing_packages(APP_PACKAGES):
        yield _not_installed("database")
        return
    from cutmv.ops.checks.database import database

    yield from database(settings)


def _not_installed(what: str) -> Finding:
    found = "the packages of the web server and the workers are not installed here"
    return skipped(what, found, install_command("app"))
