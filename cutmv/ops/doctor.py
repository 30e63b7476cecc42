"""`cutmv doctor`: what is wrong with a deployment, and what to do about it."""

import logging
import sys
from collections import Counter
from dataclasses import asdict
from functools import partial

import click
from kombu.exceptions import KombuError

from cutmv.config import ConfigError, Settings
from cutmv.ops import checks
from cutmv.ops.client import options_of
from cutmv.ops.finding import Check, Finding, Mark, problem, run
from cutmv.terminal import print_json, printable

#: How a line begins, and its colour.
MARKS: dict[Mark, tuple[str, str]] = {
    "ok": ("✔", "green"),
    "warning": ("!", "yellow"),
    "problem": ("✘", "red"),
    "skipped": ("-", "white"),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(as_json: bool) -> None:
    """Check all that a deployment needs, and say what to do.

    That is the settings, the account, the bucket, the edge Worker and this machine. Prints a line
    for each: ✔ well, ! works and should be seen to, ✘ does not work, - not checked. Changes
    nothing. Exit codes: 0 no problem, 1 a problem, 2 bad usage.
    """
    # What goes wrong is a line of the table, and not of a log too.
    logging.getLogger("cutmv").addHandler(logging.NullHandler())
    findings = run(_checks())
    problems = sum(finding.mark == "problem" for finding in findings)
    if as_json:
        print_json(findings=[asdict(finding) for finding in findings], problems=problems)
    else:
        _show(findings)
    sys.exit(1 if problems else 0)


def _checks() -> list[tuple[str, Check]]:
    """What can be checked with the settings as they are, in the order in which it is shown."""
    here: list[tuple[str, Check]] = [("FFmpeg", checks.ffmpeg)]
    try:
        settings = Settings.from_env()
        options = options_of(settings)
    except (ConfigError, KombuError) as error:
        told = problem("variables", str(error), "then run `cutmv doctor` again for all the rest")
        return [("variables", lambda: iter([told])), *here]
    return [
        ("variables", partial(checks.variables, settings, options)),
        ("API token", partial(checks.queues, settings, options)),
        ("bucket", partial(checks.bucket, settings, options)),
        ("edge Worker", partial(checks.edge, settings, options)),
        ("ingress", partial(checks.ingress, options)),
        ("webhook", partial(checks.webhook, settings)),
        ("clock", partial(checks.clock, options)),
        ("Redis", partial(checks.redis, settings)),
        ("database", partial(checks.database, settings)),
        ("data directory", partial(checks.data_directory, settings)),
        *here,
    ]


def _show(findings: list[Finding]) -> None:
    for each in findings:
        mark, colour = MARKS[each.mark]
        advice = f" → {each.advice}" if each.advice else ""
        line = printable(f"{each.what}: {each.found}{advice}")
        click.echo(f"{click.style(mark, fg=colour)} {line}")
    counts = Counter(finding.mark for finding in findings)
    click.echo(f"{counts['problem']} problem(s), {counts['warning']} warning(s).")
