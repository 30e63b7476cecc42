"""`cutmv remote webhooks`: where a server tells of the ends of one's jobs."""

import time
from dataclasses import asdict

import click

from cutmv.cli.output import Table, print_json, print_table, printable
from cutmv.cli.remote.errors import api_errors
from cutmv.client import Client, Webhook


@click.group()
def webhooks() -> None:
    """Have a server tell your own systems when a job of yours ends, by signed requests."""


@webhooks.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_them(client: Client, *, as_json: bool) -> None:
    """List them, the oldest first."""
    with api_errors():
        found = client.webhooks()
    if as_json:
        print_json(webhooks=[_without_secret(each) for each in found])
        return
    table = Table(("webhook", "address", "state"), ())
    for each in found:
        table.add(each.id, each.url, "enabled" if each.enabled else each.disabled_why)
    print_table(table)


@webhooks.command()
@click.argument("url")
@click.pass_obj
def add(client: Client, url: str) -> None:
    """Add the address URL; prints its id, and its secret, which is shown this once."""
    with api_errors():
        _print_secret(client.add_webhook(url))


@webhooks.command()
@click.argument("webhook")
@click.pass_obj
def secret(client: Client, webhook: str) -> None:
    """Make a new secret for WEBHOOK, and print it; that of before signs, too, for a day."""
    with api_errors():
        _print_secret(client.renew_webhook_secret(webhook))


@webhooks.command()
@click.argument("webhook")
@click.pass_obj
def test(client: Client, webhook: str) -> None:
    """Have a test event sent to WEBHOOK; `log` shows what became of it."""
    with api_errors():
        client.test_webhook(webhook)


@webhooks.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.argument("webhook")
@click.pass_obj
def log(client: Client, webhook: str, *, as_json: bool) -> None:
    """Show the latest that WEBHOOK was told, the newest first, and what became of it."""
    with api_errors():
        found = client.deliveries(webhook)
    if as_json:
        print_json(deliveries=[asdict(each) for each in found])
        return
    table = Table(("event", "job", "when", "state", "answer"), ("attempts",))
    for each in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.happened_at))
        told = (each.type, each.job_id or "", when, each.state, printable(each.answer or ""))
        table.add(*told, each.attempts)
    print_table(table)


@webhooks.command()
@click.argument("webhook")
@click.pass_obj
def enable(client: Client, webhook: str) -> None:
    """Have WEBHOOK told again."""
    with api_errors():
        client.enable_webhook(webhook)


@webhooks.command()
@click.argument("webhook")
@click.pass_obj
def disable(client: Client, webhook: str) -> None:
    """Tell WEBHOOK nothing any more; what waits has failed."""
    with api_errors():
        client.enable_webhook(webhook, enabled=False)


@webhooks.command()
@click.argument("webhook")
@click.pass_obj
def rm(client: Client, webhook: str) -> None:
    """Delete WEBHOOK, with all that was to be told there."""
    with api_errors():
        client.delete_webhook(webhook)


def _without_secret(webhook: Webhook) -> dict[str, object]:
    return {name: each for name, each in asdict(webhook).items() if name != "secret"}


def _print_secret(webhook: Webhook) -> None:
    click.echo(f"{webhook.id}  {webhook.secret}")
