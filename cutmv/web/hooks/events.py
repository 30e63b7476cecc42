"""What a hook is told of a job: the body of a request, of version 1. Pure."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from cutmv.jobs import Delivery, Job, State, Step

#: The version of the body: fields may come without another one.
VERSION = 1
#: Outputs, and failures, that a body names; the job's address tells all.
MAX_NAMED = 100


def body_of(delivery: Delivery, job: Job | None, here: str) -> bytes:
    """The body of a request: that a job has ended, or, without one, that this is a test.

    `here` is the server's address for people; addresses are paths where it is not known.
    """
    happened = datetime.fromtimestamp(delivery.happened_at, UTC)
    told = {
        "type": delivery.event,
        "version": VERSION,
        "timestamp": happened.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {} if job is None else _data(job, here),
    }
    return json.dumps(told).encode()


def _data(job: Job, here: str) -> dict[str, Any]:
    made = [step for step in job.steps if step.state is State.DONE]
    failed = [step for step in job.steps if step.state is State.FAILED]
    return {
        "job": {
            "id": job.id,
            "state": job.state.value,
            "url": f"{here}/api/jobs/{job.id}",
            "page": f"{here}/#{job.id}",
            "created_at": job.created_at,
            "finished_at": job.finished_at,
        },
        "upload": {"id": job.upload.id, "filename": job.upload.filename},
        "counts": {"wanted": len(job.steps), "made": len(made), "failed": len(failed)},
        "outputs": list(_outputs(job, here))[:MAX_NAMED],
        "failures": [_failure(step) for step in failed[:MAX_NAMED]],
    }


def _outputs(job: Job, here: str) -> Iterator[dict[str, Any]]:
    for step in job.steps:
        if step.output is not None:
            yield {
                "name": step.name,
                "kind": step.spec.kind,
                "clip": step.clip,
                "size": step.output.size,
                "content_type": step.output.content_type,
                "url": f"{here}/api/jobs/{job.id}/outputs/{quote(step.name)}",
            }


def _failure(step: Step) -> dict[str, Any]:
    told = step.to_json()
    return {"name": step.name, "error": told["error"], "why": told["why"]}
