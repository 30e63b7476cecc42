"""`cutmv doctor`: what is wrong with a deployment, and what to do about it."""

import logging
import sys
from collections import Counter
from dataclasses import asdict

import click

from cutmv.cli.output import print_json, printable
from cutmv.ops import Finding, Mark, diagnose

#: The first character of a line, and its colour.
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

    Checks the settings, the account, the bucket, the edge Worker and this machine. Prints a line
    for each: ✔ well, ! works but needs attention, ✘ does not work, - not checked. Changes nothing.
    Exit codes: 0 no problem, 1 a problem, 2 bad usage.
    """
    # An error is a line of the output, and not of a log too.
    logging.getLogger("cutmv").addHandler(logging.NullHandler())
    findings = diagnose()
    problems = sum(finding.mark == "problem" for finding in findings)
    if as_json:
        print_json(findings=[asdict(finding) for finding in findings], problems=problems)
    else:
        _show(findings)
    sys.exit(1 if problems else 0)


def _show(findings: list[Finding]) -> None:
    for each in findings:
        mark, colour = MARKS[each.mark]
        advice = f" → {each.advice}" if each.advice else ""
        line = printable(f"{each.what}: {each.found}{advice}")
        click.echo(f"{click.style(mark, fg=colour)} {line}")
    counts = Counter(finding.mark for finding in findings)
    click.echo(f"{counts['problem']} problem(s), {counts['warning']} warning(s).")
