"""The group of all commands, each of which is imported when it is run.

A command may need packages that are not installed. `cutmv --help` lists it all the same, with the
extra it needs; running it ends with exit code 1 and a line that names the extra.
"""

import importlib
from dataclasses import dataclass

import click

from cutmv import __version__
from cutmv.install import install_command, missing_packages

#: What a worker and the web server import beyond the bare installation.
_WORKER_PACKAGES = ("boto3", "sqlalchemy", "alembic")
_WEB_PACKAGES = (
    *_WORKER_PACKAGES,
    "argon2",
    "flask",
    "gunicorn",
    "prometheus_client",
    "pydantic",
    "wsproto",
)


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command of the group: where it is, its line in the help, and what it needs.

    `packages` are the modules that the command imports and the bare installation does not have;
    `extra` installs them.
    """

    module: str
    attribute: str
    help: str
    extra: str = ""
    packages: tuple[str, ...] = ()

    @property
    def lacks(self) -> str | None:
        """What must be typed before the command can run; None when it can."""
        return install_command(self.extra) if missing_packages(self.packages) else None


#: All commands, by name.
COMMANDS = {
    "cut": LazyCommand(
        "cutmv.cli.cut",
        "cut",
        "Cut clips of INPUT here and now, without a server.",
        "app",
        ("rich", "sqlalchemy"),
    ),
    "database": LazyCommand(
        "cutmv.cli.serve",
        "database",
        "Bring the database's schema to this version's, or to an earlier one's.",
        "app",
        ("sqlalchemy", "alembic"),
    ),
    "delete": LazyCommand(
        "cutmv.cli.delete",
        "delete",
        "Delete uploads, jobs and outputs for good.",
        "app",
        _WORKER_PACKAGES,
    ),
    "doctor": LazyCommand(
        "cutmv.cli.doctor", "doctor", "Check all that a deployment needs, and say what to do."
    ),
    "emulator": LazyCommand(
        "cutmv.emulator.cli",
        "emulator",
        "Serve the Cloudflare Queues REST API from a local file.",
        "emulator",
        ("starlette", "uvicorn"),
    ),
    "probe": LazyCommand(
        "cutmv.cli.probe",
        "probe",
        "Show what is in FILE, or in the video at URL, as cutting sees it.",
        "app",
        ("rich",),
    ),
    "people": LazyCommand(
        "cutmv.cli.people",
        "people",
        "Who may sign in: invite people, change, disable or delete accounts, set quotas.",
        "app",
        (*_WORKER_PACKAGES, "argon2"),
    ),
    "provision": LazyCommand(
        "cutmv.cli.provision", "provision", "Create or correct queues, consumers and the bucket."
    ),
    "queues": LazyCommand(
        "cutmv.cli.queues", "queues", "Look at Cloudflare queues, and repair what is in them."
    ),
    "remote": LazyCommand(
        "cutmv.cli.remote",
        "remote",
        "Work on a server: upload videos, cut them there, watch jobs, download results.",
        "app",
        ("rich", "sqlalchemy"),
    ),
    "suggest": LazyCommand(
        "cutmv.cli.suggest",
        "suggest_command",
        "Suggest clips of INPUT, the best first, each with a score and reasons.",
        "suggest",
        ("rich", "sqlalchemy", "scenedetect", "cv2", "numpy"),
    ),
    "up": LazyCommand(
        "cutmv.cli.serve",
        "up",
        "Serve the web page and, with a broker, run a worker beside it.",
        "app",
        _WEB_PACKAGES,
    ),
    "web": LazyCommand(
        "cutmv.cli.serve",
        "web",
        "Serve the web page and the API, without a worker.",
        "app",
        _WEB_PACKAGES,
    ),
    "worker": LazyCommand(
        "cutmv.cli.serve",
        "worker",
        "Run a Celery worker; further options are those of `celery worker`.",
        "app",
        _WORKER_PACKAGES,
    ),
}


class LazyGroup(click.Group):
    """A group of the commands in COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, sorted, whether or not the command can run."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, imported now, or one that says what it lacks."""
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        if lacks := lazy.lacks:
            return _unavailable(cmd_name, lacks)
        command: click.Command = getattr(importlib.import_module(lazy.module), lazy.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing any."""
        rows = []
        for name, lazy in sorted(COMMANDS.items()):
            needs = f" (needs {lazy.lacks})" if lazy.lacks else ""
            rows.append((name, f"{lazy.help.removesuffix('.') if needs else lazy.help}{needs}"))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _unavailable(name: str, lacks: str) -> click.Command:
    """A command that takes any arguments and ends with exit code 1."""

    def fail(**_: object) -> None:
        raise click.ClickException(f"`cutmv {name}` needs more packages: {lacks}")

    return click.Command(
        name,
        callback=fail,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cutmv")
def main() -> None:
    """Cut music videos: on this machine, on Redis, or on Cloudflare Queues.

    The mode is chosen from the environment: Cloudflare when CLOUDFLARE_ACCOUNT_ID and
    CLOUDFLARE_API_TOKEN are set, else Redis when REDIS_URL is, else this machine alone.
    """
