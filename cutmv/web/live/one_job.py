"""The WebSocket that tells a job's progress: a snapshot first, then each change, to its end."""

from collections.abc import Callable

from flask import json, request
from simple_websocket import Server

from cutmv.database import DATABASE_AWAY, passes
from cutmv.jobs import Job, JobStore
from cutmv.progress import follow
from cutmv.web.access import mine
from cutmv.web.state import web


def check_before_upgrade() -> None:
    """Answer 404 for an unknown job, or another person's, before a WebSocket opens."""
    if "job_id" in (request.view_args or {}):
        mine().job((request.view_args or {})["job_id"])


def send_job(client: Server, job_id: str, still_in: Callable[[], bool]) -> None:
    """Send the messages of a job until it or the client ends. Raises UnknownJob."""
    here = web()

    def stopped() -> bool:
        client.input_buffer.clear()
        return not (client.connected and still_in()) or here.stopping.is_set()

    messages = follow(_loader(here.services.store, job_id), here.feed, stopped=stopped)
    for message in messages:
        client.send(json.dumps(message or {"type": "ping"}))


def _loader(store: JobStore, job_id: str) -> Callable[[], Job]:
    """What loads a job; while the database is away, as it was before."""
    latest: list[Job] = []

    def load() -> Job:
        try:
            latest[:] = [store.job(job_id)]
        except DATABASE_AWAY as error:
            if not latest or not passes(error):
                raise
        return latest[0]

    return load
