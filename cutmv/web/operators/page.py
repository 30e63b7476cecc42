"""What operators see: a page that answers at once, whose parts a script brings up to date."""

import time

from flask import Response, make_response, render_template, request

from cutmv.jobs import RATE_S
from cutmv.monitoring import Monitor
from cutmv.people import Person
from cutmv.transports.cloudflare import calls_report, threads_report
from cutmv.web.operators.blueprint import blueprint
from cutmv.web.state import web

#: Seconds that the page waits for what is seen for the first time, and after somebody changed it.
WAIT_S, CHANGED_WAIT_S = 0.5, 2.0
#: Seconds after which an operator should know that what is shown is old.
OLD_S = 180.0
#: Units of a time, the largest first.
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))

#: What is said of what was done.
DONE = {
    "paused": "The queue is paused.",
    "resumed": "The queue's messages are delivered again.",
    "replayed": "Dead letters are back in their queue.",
    "none": "There was nothing to move or delete: somebody else was faster.",
    "deleted": "The dead letter is deleted.",
    "drained": "The worker takes no more tasks, and finishes those that it has.",
    "refilled": "The worker takes tasks again.",
    "retried": "The output is made anew.",
    "revoked": "The output is not made any more.",
}


@blueprint.get("")
def index() -> Response:
    """The whole page."""
    done = DONE.get(request.args.get("done", ""))
    return show(told=done, wait_s=CHANGED_WAIT_S if done else WAIT_S)


@blueprint.get("/parts")
def parts() -> str:
    """The parts of the page, as they are now."""
    return render_template("operators/parts.html", **_seen(WAIT_S))


def show(
    *, told: str | None = None, problem: str | None = None, status: int = 200, wait_s: float = 0.0
) -> Response:
    """The page, with what was done or what is wrong."""
    seen = _seen(wait_s)
    text = render_template("operators/index.html", told=told, problem=problem, **seen)
    return make_response(text, status)


def seconds_text(seconds: float | None) -> str:
    """A time for people, in its largest unit: `3 min`."""
    if seconds is None:
        return "unknown"
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds / size)} {unit}"
    return "0 s"


def count_text(number: float) -> str:
    """A number for people, with three digits that count, and thousands set apart."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _seen(wait_s: float) -> dict[str, object]:
    here = web()
    monitor, settings = here.monitor, here.services.settings
    until = time.monotonic() + wait_s
    for look in monitor.looks:
        look.want()
    queues, workers = monitor.queues.get(until), monitor.workers.get(until)
    jobs, disks = monitor.jobs.get(until), monitor.disks.get(until)
    troubled = threads_report()["troubled"].items()
    return {
        "mode": settings.mode,
        "queues": queues,
        "workers": workers,
        "takers_of": lambda queue: sum(queue in each.queues for each in workers.answer or ()),
        "silent": _silent(monitor),
        "jobs": jobs,
        "disks": disks,
        "rate_min": RATE_S / 60,
        "breaker": here.dispatcher.breaker.reason,
        "unwell": {name: each["last_error"] for name, each in troubled if not each["well"]},
        "swept_s": _swept_s(monitor),
        "edge": monitor.edge.get(until) if monitor.edge in monitor.looks else None,
        "calls": calls_report() if settings.mode == "cloudflare" else None,
        "cost": monitor.cost(),
        "old_s": OLD_S,
        "names": _names(),
        "usual_bytes": settings.limits.stored_bytes_of("somebody" if here.door.sign_in else None),
    }


def _silent(monitor: Monitor) -> dict[str, int]:
    """Workers that run steps, by the database, and did not answer; and how many."""
    jobs, workers = monitor.jobs.seen.answer, monitor.workers.seen.answer
    if jobs is None or workers is None:
        return {}
    answered = {each.name for each in workers}
    found: dict[str, int] = {}
    for live in jobs.seen.live:
        if live.step.route != "eager" and live.worker not in answered:
            found[live.worker] = found.get(live.worker, 0) + 1
    return found


def _swept_s(monitor: Monitor) -> float | None:
    """Seconds since the janitor's last sweep."""
    janitor = monitor.janitor
    if janitor is None or janitor.swept_at is None:
        return None
    return max(0.0, time.time() - janitor.swept_at)


def _names() -> dict[str | None, Person]:
    """The people who have accounts, by their ids."""
    here = web()
    return {each.id: each for each in here.services.accounts.all()} if here.door.sign_in else {}
