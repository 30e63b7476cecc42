"""The commands of `cutmv people`, on a machine that has the settings of its deployment."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import SQLAlchemyError

from cutmv.config import ConfigError, Settings
from cutmv.database import OtherSchema, cause
from cutmv.dispatch import Deleter
from cutmv.people import QUOTAS, Person, Refused, TokenKind, whole_number
from cutmv.services import Services
from cutmv.storage import StorageError


@click.group()
def people() -> None:
    """Who may sign in: invite people, change, disable or delete accounts, set quotas."""


@people.command("ls")
def list_people() -> None:
    """List the accounts."""
    with _services() as services:
        for each in services.accounts.all():
            kind = "administrator" if each.is_admin else "person"
            state = (
                "disabled"
                if each.disabled_at is not None
                else ""
                if each.has_password
                else "no password yet"
            )
            quotas = " ".join(f"{name}={most}" for name, most in each.quotas.items())
            factor = "second factor" if each.has_second_factor else ""
            told = (each.email or each.name, kind, state, factor, quotas)
            click.echo("  ".join(filter(None, told)))


@people.command()
@click.argument("email")
@click.option("--admin", is_flag=True, help="Make an administrator.")
def invite(email: str, admin: bool) -> None:
    """Make an account, and print a link by which its owner chooses a password."""
    with _services() as services:
        _print_link(services, services.accounts.add(email, is_admin=admin))


@people.command()
@click.argument("email")
def link(email: str) -> None:
    """Print a link by which somebody chooses a new password; good once, for three days."""
    with _services() as services:
        _print_link(services, _found(services, email))


@people.command()
@click.argument("email")
def reset_second_factor(email: str) -> None:
    """Have somebody sign in without a code who has lost the app and the recovery codes."""
    with _services() as services:
        services.second_factors.turn_off(str(_found(services, email).id))


@people.command()
@click.argument("email")
def promote(email: str) -> None:
    """Make somebody an administrator."""
    with _services() as services:
        services.accounts.change(str(_found(services, email).id), is_admin=True)


@people.command()
@click.argument("email")
def demote(email: str) -> None:
    """Make somebody no administrator any more; sessions end."""
    with _services() as services:
        services.accounts.change(str(_found(services, email).id), is_admin=False)


@people.command()
@click.argument("email")
@click.argument("new", metavar="NEW_EMAIL")
def address(email: str, new: str) -> None:
    """Give an account another e-mail address; sessions and links end."""
    with _services() as services:
        services.accounts.change(str(_found(services, email).id), email=new)


@people.command()
@click.argument("email")
def disable(email: str) -> None:
    """Keep somebody out: sessions end, keys open nothing; what they have stays."""
    with _services() as services:
        services.accounts.disable(str(_found(services, email).id))


@people.command()
@click.argument("email")
def enable(email: str) -> None:
    """Let somebody in again."""
    with _services() as services:
        services.accounts.enable(str(_found(services, email).id))


@people.command()
@click.argument("email")
@click.argument("quotas", nargs=-1, metavar="NAME=NUMBER…")
def quota(email: str, quotas: tuple[str, ...]) -> None:
    """Set the quotas of somebody; those that are not given are the deployment's."""
    wanted = {}
    for text in quotas:
        name, _, number = text.partition("=")
        most = whole_number(number)
        if name not in QUOTAS or most is None:
            raise click.ClickException(
                f"{text!r} is no NAME=NUMBER with a name of {', '.join(QUOTAS)}."
            )
        wanted[name] = most
    with _services() as services:
        services.accounts.set_quotas(str(_found(services, email).id), wanted)
    own = " ".join(f"{name}={most}" for name, most in wanted.items())
    click.echo(f"{own}; all others as for everybody" if own else "all as for everybody")


@people.command()
@click.argument("email")
@click.confirmation_option(prompt="Delete the account and all that it has?")
def delete(email: str) -> None:
    """Delete an account with its jobs, uploads and outputs, for good."""
    with _services() as services:
        Deleter(services).account(str(_found(services, email).id))


def _found(services: Services, email: str) -> Person:
    person = services.accounts.find(email)
    if person is None:
        raise click.ClickException(f"There is no account of {email}.")
    return person


def _print_link(services: Services, person: Person) -> None:
    token = services.sessions.begin(person, TokenKind.PASSWORD)
    path = f"/link/{TokenKind.PASSWORD}/{token}"
    url = services.settings.access.url
    click.echo(f"{url.rstrip('/')}{path}" if url else f"{path} (after the server's address)")


@contextmanager
def _services() -> Iterator[Services]:
    """The services of the environment; their errors are one line."""
    try:
        services = Services.open(Settings.from_env())
        try:
            yield services
        finally:
            services.store.close()
    except (ConfigError, OtherSchema, Refused, StorageError) as error:
        raise click.ClickException(str(error)) from error
    except SQLAlchemyError as error:
        why = cause(error) or "it does not answer; check DATABASE_URL"
        raise click.ClickException(f"The database can't be used: {why}.") from error
