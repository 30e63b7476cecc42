"""The WebSocket that tells a job's progress: a snapshot first, then each change, to its end."""

from cutmv.web.access import mine, person
from cutmv.web.live.upgrade import Upgrade
from cutmv.web.live.watching import watching
from cutmv.web.state import web


def watch(job_id: str) -> Upgrade:
    """Follow a job. Raises UnknownJob, before a WebSocket opens."""
    mine().job(job_id)
    live, of = web().live, person().sees
    return watching(lambda watcher: live.follow(watcher, job_id, of), lambda _text, _watcher: None)
