"""`cutmv queues`: show the Cloudflare queues of any Celery app, and repair them."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from kombu.exceptions import KombuError

from cutmv.cli.output import Table, print_json, print_table
from cutmv.transports.cloudflare import admin
from cutmv.transports.cloudflare.admin import Session

#: Seconds that a probe lies in a temporary queue before the queue counts as an orphan, and the
#: least and the most that may be asked for: an idle reader pulls every half second, and the queue
#: keeps a message for 60 seconds.
PROBE_WAIT_S, MIN_PROBE_WAIT_S, MAX_PROBE_WAIT_S = 30.0, 1.0, 50.0

#: Units of an age (seconds) and of a size (bytes), the largest first.
AGE_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
SIZE_UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "KB"), (1, "B"))

_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output."
)
_queue_argument = click.argument("queue")
_count_option = click.option(
    "-n",
    "count",
    type=click.IntRange(1, admin.MAX_PEEK),
    default=20,
    show_default=True,
    help="Messages of a queue to show at most.",
)
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--prefix", default="", help="The app's option queue_name_prefix, if it has one.")
@click.pass_context
def queues(ctx: click.Context, prefix: str) -> None:
    """Look at Cloudflare queues, and repair what is in them.

    The account comes from CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN. Queues go by the names
    that Celery knows, or by Cloudflare's. Exit codes: 0 done, 1 failed, 2 bad usage.
    """
    ctx.obj = prefix


@queues.command("ls")
@click.option("--all", "bindings", is_flag=True, help="Show the binding queues of processes, too.")
@_json_option
@click.pass_obj
def list_queues(prefix: str, bindings: bool, as_json: bool) -> None:
    """Show the queues and about what they hold; one call for each."""
    with _session(prefix, as_json) as session:
        found = admin.overviews(session, bindings)
        now = time.time()
        rows: list[dict[str, Any]] = [
            {
                "name": each.name,
                "cloudflare_name": each.queue.name,
                "binding": each.of_binding,
                "consumer": each.queue.consumer,
                "paused": each.queue.paused,
                "max_retries": each.queue.max_retries,
                "dead_letter_queue": each.queue.dead_letter_queue or None,
                "backlog_count": each.backlog.count,
                "backlog_bytes": each.backlog.size,
                "oldest_age_s": _age(each.backlog.oldest, now),
            }
            for each in found
        ]
        if as_json:
            print_json(queues=rows)
            return
        shown = Table(
            ("queue", "in Cloudflare", "consumer", "retries", "dead letters go to"),
            numbers=("messages", "size", "oldest"),
        )
        for row in rows:
            shown.add(
                row["name"] or ("(binding)" if row["binding"] else None),
                row["cloudflare_name"],
                "paused" if row["paused"] else row["consumer"],
                row["max_retries"],
                *(row["dead_letter_queue"], row["backlog_count"]),
                _in_units(row["backlog_bytes"], SIZE_UNITS),
                _in_units(row["oldest_age_s"], AGE_UNITS),
            )
        print_table(shown)


@queues.command()
@_queue_argument
@_count_option
@_json_option
@click.pass_obj
def peek(prefix: str, queue: str, count: int, as_json: bool) -> None:
    """Show messages that wait in QUEUE, and leave them there for whoever pulls."""
    with _session(prefix, as_json) as session:
        waiting = admin.peek(session, admin.find(session, queue), count)
        rows = [_message(message) for message in waiting]
        if as_json:
            print_json(queue=queue, messages=rows)
            return
        shown = Table(("message", "attempts", "task", "task id", "eta", "age", "can't be read"))
        for row in rows:
            shown.add(
                *(row["id"], row["attempts"], row["task"], row["task_id"], row["eta"]),
                *(_in_units(row["age_s"], AGE_UNITS), row["unreadable"]),
            )
        print_table(shown)


@queues.command()
@_queue_argument
@click.option("--ref", "refs", multiple=True, help="A message, by the ref `peek --json` shows.")
@click.option("--task-id", "task_ids", multiple=True, help="A task among the first 100 waiting.")
@_yes_option
@_json_option
@click.pass_obj
def purge(
    prefix: str,
    queue: str,
    *,
    refs: tuple[str, ...],
    task_ids: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Remove all messages of QUEUE, or single ones, for good."""
    with _session(prefix, as_json) as session:
        found = admin.find(session, queue)
        single = len(refs) + len(task_ids)
        what = f"{single} message(s)" if single else "all messages"
        _confirm(f"Remove {what} of {queue!r} for good?", yes)
        if not single:
            count = admin.purge(session, found)
            _tell(as_json, f"About {count} message(s) of {queue!r} are removed.", removed=count)
            return
        done = admin.remove(session, found, refs, task_ids)
        count = single - len(done.missing)
        line = f"{count} message(s) of {queue!r} are removed."
        if done.unsure:
            line += (
                " An answer was lost: a worker may have taken some of them just before "
                f"({', '.join(done.unsure)})."
            )
        told: dict[str, Any] = {"missing": done.missing, "unsure": done.unsure}
        _tell(as_json, line, error=_not_found(done.missing), removed=count, **told)


@queues.command()
@_queue_argument
@_json_option
@click.pass_obj
def pause(prefix: str, queue: str, as_json: bool) -> None:
    """Have nobody get the messages of QUEUE, until it is resumed; what runs goes on."""
    with _session(prefix, as_json) as session:
        admin.pause(session, admin.find(session, queue), True)
        _tell(as_json, f"{queue!r} is paused.", paused=True)


@queues.command()
@_queue_argument
@_json_option
@click.pass_obj
def resume(prefix: str, queue: str, as_json: bool) -> None:
    """Have whoever consumes QUEUE get its messages again."""
    with _session(prefix, as_json) as session:
        admin.pause(session, admin.find(session, queue), False)
        _tell(as_json, f"The messages of {queue!r} are delivered again.", paused=False)


@queues.command()
@click.argument("queue", required=False)
@_count_option
@_json_option
@click.pass_obj
def dead(prefix: str, queue: str | None, count: int, as_json: bool) -> None:
    """Show the dead letters of QUEUE, or of every queue."""
    with _session(prefix, as_json) as session:
        source = None if queue is None else admin.find(session, queue)
        rows = [
            {
                "queue": session.directory.name_of(found.source) or found.source.name,
                "dead_letter_queue": found.queue.name,
                "why": admin.why_dead(message, found.source),
                **_message(message),
            }
            for found in admin.dead_letters(session, source, count)
            for message in found.messages
        ]
        if as_json:
            print_json(dead_letters=rows)
            return
        shown = Table(("queue", "message", "task", "task id", "dead for", "why"))
        for row in rows:
            shown.add(
                *(row["queue"], row["id"], row["task"], row["task_id"]),
                *(_in_units(row["age_s"], AGE_UNITS), row["why"]),
            )
        print_table(shown)


@queues.command("replay")
@_queue_argument
@click.option("-n", "most", type=click.IntRange(min=1), help="Dead letters to move at most.")
@click.option("--task-id", "task_ids", multiple=True, help="A task to move; may be repeated.")
@_json_option
@click.pass_obj
def replay_command(
    prefix: str, queue: str, most: int | None, task_ids: tuple[str, ...], as_json: bool
) -> None:
    """Move the dead letters of QUEUE back to it, under the same task ids."""
    if most and task_ids:
        raise click.UsageError("-n and --task-id can't be combined")
    with _session(prefix, as_json) as session:
        done = admin.replay_dead_letters(session, admin.find(session, queue), most, task_ids)
        line = f"{done.moved} dead letter(s) are back in {queue!r}."
        if done.unreadable:
            line += f" {done.unreadable} that can't be read are left."
        numbers: dict[str, Any] = {"moved": done.moved, "unreadable": done.unreadable}
        _tell(as_json, line, error=_not_found(done.missing), missing=done.missing, **numbers)


@queues.command("delete-orphans")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option(
    "--wait",
    type=click.FloatRange(MIN_PROBE_WAIT_S, MAX_PROBE_WAIT_S),
    default=PROBE_WAIT_S,
    show_default=True,
    help="Seconds to give the readers.",
)
@_json_option
@click.pass_obj
def delete_orphans(prefix: str, dry_run: bool, wait: float, as_json: bool) -> None:
    """Delete the temporary queues that nobody reads: those of processes that are gone.

    Each temporary queue of the account gets a probe; nobody reads the queue when the probe is still
    there after the wait.
    """
    with _session(prefix, as_json) as session:
        search = admin.search_orphans(session, wait)
        if not dry_run:
            admin.delete_orphans(session, search.orphans)
        names = [orphan.binding.name for orphan in search.orphans]
        if not as_json:
            for name in names:
                click.echo(name)
        done = "would be" if dry_run else "are"
        line = f"{len(names)} of {search.probed} binding queue(s) {done} deleted."
        if search.left:
            line += f" {search.left} others were not looked at: run again in five minutes."
        numbers: dict[str, Any] = {"probed": search.probed, "not_probed": search.left}
        _tell(as_json, line, orphans=names, deleted=not dry_run, **numbers)


@contextmanager
def _session(prefix: str, as_json: bool) -> Iterator[Session]:
    """Yield a session; an error of the transport becomes one line, and exit code 1."""
    try:
        with admin.opened(prefix) as session:
            yield session
    except KombuError as error:
        if as_json:
            print_json(error=str(error))
        raise click.ClickException(str(error)) from None


def _confirm(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


def _tell(as_json: bool, line: str, *, error: str | None = None, **document: Any) -> None:
    """Print what was done; with an `error`, print that too and end with exit code 1."""
    if as_json:
        print_json(error=error, **document)
    else:
        click.echo(line)
    if error is not None:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _not_found(missing: Sequence[str]) -> str | None:
    return f"not found: {', '.join(missing)}" if missing else None


def _message(message: admin.Waiting) -> dict[str, Any]:
    return {
        "id": message.message_id,
        "attempts": message.attempts,
        "task": message.task,
        "task_id": message.task_id,
        "eta": message.eta,
        "age_s": _age(message.sent, time.time()),
        "unreadable": message.unreadable,
        "ref": message.ref,
    }


def _age(since: float | None, now: float) -> float | None:
    return None if since is None else round(max(0.0, now - since), 1)


def _in_units(value: float | None, units: Sequence[tuple[int, str]]) -> str | None:
    """A value in the largest unit of which it has at least one; None stays None."""
    if value is None:
        return None
    for size, unit in units:
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"0 {units[-1][1]}"
