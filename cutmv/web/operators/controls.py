"""What operators do, each by a form that asks first; one line of the log says who did it."""

import logging
from collections.abc import Callable

from flask import Response, make_response, redirect, request, url_for
from kombu.exceptions import KombuError

from cutmv import monitoring
from cutmv.jobs import NotFailed, NotOpen
from cutmv.monitoring import UnknownQueue
from cutmv.transports.cloudflare import shown
from cutmv.web.access import person
from cutmv.web.api.problems import Problem
from cutmv.web.operators.blueprint import blueprint
from cutmv.web.operators.page import show
from cutmv.web.state import web

#: What a form may ask for, by name: what does it, and the name of what is said of it. The former
#: returns 0 or False where there was nothing to do.
Acts = dict[str, tuple[Callable[[], object], str]]

log = logging.getLogger(__name__)


@blueprint.post("/queues/<queue>")
def of_queue(queue: str) -> Response:
    """Pause or resume a queue; replay its dead letters, or one, or delete one."""
    settings = web().services.settings
    task_id, ref = request.form.get("task_id", ""), request.form.get("ref", "")
    acts: Acts = {
        "pause": (lambda: monitoring.pause(settings, queue), "paused"),
        "resume": (lambda: monitoring.resume(settings, queue), "resumed"),
        "replay-all": (lambda: monitoring.replay(settings, queue), "replayed"),
        "replay": (lambda: task_id and monitoring.replay(settings, queue, [task_id]), "replayed"),
        "delete": (lambda: monitoring.delete(settings, queue, ref), "deleted"),
    }
    return _do(acts, f"queue {queue}", task_id)


@blueprint.post("/workers/<worker>")
def of_worker(worker: str) -> Response:
    """Have a worker take no more tasks, or take them again."""
    here = web()
    settings = here.services.settings
    if worker not in {each.name for each in here.monitor.workers.seen.answer or ()}:
        raise Problem(404, "There is no such worker, or no longer.")
    acts: Acts = {
        "drain": (lambda: monitoring.drain(settings, worker), "drained"),
        "refill": (lambda: monitoring.refill(settings, worker), "refilled"),
    }
    return _do(acts, f"worker {worker}")


@blueprint.post("/steps/<step_id>")
def of_step(step_id: str) -> Response:
    """Make an output anew that failed, or stop one."""
    dispatcher = web().dispatcher
    acts: Acts = {
        "retry": (lambda: dispatcher.retry(step_id), "retried"),
        "revoke": (lambda: dispatcher.revoke(step_id), "revoked"),
    }
    return _do(acts, f"step {step_id}")


def _do(acts: Acts, what: str, detail: str = "") -> Response:
    """Do what the form asks for, log who did it, and show the page."""
    do = request.form.get("do", "")
    if do not in acts:
        return show(problem="The page is out of date: load it again.", status=422)
    who, (act, done) = person().email or person().name, acts[do]
    try:
        if act() in (0, ""):
            done = "none"
    except UnknownQueue as error:
        raise Problem(404, str(error)) from None
    except (NotFailed, NotOpen) as error:
        return show(problem=str(error), status=409)
    except (KombuError, OSError) as error:
        log.warning("operator %s: %s of %s failed: %s", who, do, what, shown(error))
        return show(problem=f"The broker did not do that. {shown(error)}", status=503)
    log.warning("operator %s: %s of %s%s: %s", who, do, what, f" ({detail})" * bool(detail), done)
    monitor = web().monitor
    for look in monitor.looks:
        look.outdate()
    return make_response(redirect(url_for("operators.index", done=done), 303))
