"""Jobs: make one, list them, show one, cancel it, download its outputs."""

import logging

from flask import Blueprint, Response, jsonify, request, url_for

from cutmv.jobs import (
    MAX_PAGE_STEPS,
    OVERVIEW,
    Costs,
    JobMails,
    Records,
    State,
    UnknownJob,
    check_job,
    plan_job,
)
from cutmv.web.access import mine, person
from cutmv.web.api.contents import send_archive, send_object
from cutmv.web.api.estimates import estimate_json
from cutmv.web.api.idempotency import idempotency_key
from cutmv.web.api.job_body import JobBody
from cutmv.web.api.models import AgainQuery, PageQuery
from cutmv.web.api.problems import Problem, json_body, validated
from cutmv.web.clients import client_key
from cutmv.web.state import web

blueprint = Blueprint("jobs", __name__, url_prefix="/api/jobs")
log = logging.getLogger(__name__)


@blueprint.post("")
def create() -> tuple[Response, int, dict[str, str]]:
    """Cut an upload into clips."""
    wanted = validated(JobBody, json_body())
    job = web().dispatcher.submit(
        wanted.to_request(), idempotency_key(request), of=person().sees, client=client_key()
    )
    log.info("job %s accepted: %d steps by %s", job.id, len(job.steps), job.route)
    return jsonify(job.to_json()), 201, {"Location": url_for("jobs.show", job_id=job.id)}


@blueprint.post("/estimate")
def estimate() -> Response:
    """What a job would take, of which nothing is made."""
    wanted = validated(JobBody, json_body())
    upload, services = mine().upload(wanted.upload_id), web().services
    job = plan_job(upload, wanted.to_request())
    check_job(job, services.settings.limits)
    record = Records(services.storage, OVERVIEW).of(upload)
    keys = record.found.keys if record and record.found else ()
    return jsonify(estimate_json(job, Costs(services.store).model(), keys))


@blueprint.get("")
def index() -> Response:
    """The latest jobs, newest first; the next page has those `before` the last of them."""
    page = validated(PageQuery, request.args.to_dict())
    jobs = mine().jobs(page.limit, page.before)
    is_full = len(jobs) >= page.limit or sum(len(job.steps) for job in jobs) >= MAX_PAGE_STEPS
    more = jobs[-1].created_at if is_full else None
    return jsonify(jobs=[job.to_json() for job in jobs], next_before=more)


@blueprint.get("/<job_id>")
def show(job_id: str) -> Response:
    """One job and its steps."""
    return jsonify(mine().job(job_id).to_json())


@blueprint.post("/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Cancel the steps that have not ended; outputs stay. A job that ended is left as it is."""
    job = web().dispatcher.cancel(mine().job(job_id).id)
    log.info("job %s cancelled by request", job.id)
    return jsonify(job.to_json())


@blueprint.post("/<job_id>/again")
def again(job_id: str) -> tuple[Response, int, dict[str, str]]:
    """Make a new job of the same request, or of those of its outputs that failed."""
    job, query = mine().job(job_id), validated(AgainQuery, request.args.to_dict())
    made = web().dispatcher.again(
        job, idempotency_key(request), only_failed=query.only == "failed", client=client_key()
    )
    log.info("job %s accepted, %s again: %d steps", made.id, job.id, len(made.steps))
    return jsonify(made.to_json()), 201, {"Location": url_for("jobs.show", job_id=made.id)}


@blueprint.put("/<job_id>/mail")
def want_mail(job_id: str) -> tuple[str, int]:
    """Have its owner mailed when a job has ended; at once where it has."""
    job, services = mine().job(job_id), web().services
    if services.settings.access.smtp_url is None:
        raise Problem(404, "This server sends no mail.")
    if job.person_id is None or services.accounts.get(job.person_id).email is None:
        raise Problem(404, "The job's owner has no e-mail address.")
    JobMails(services.store).want(job.id, wanted=True)
    return "", 204


@blueprint.delete("/<job_id>/mail")
def want_no_mail(job_id: str) -> tuple[str, int]:
    """Have nobody mailed of a job."""
    JobMails(web().services.store).want(mine().job(job_id).id, wanted=False)
    return "", 204


@blueprint.delete("/<job_id>")
def delete(job_id: str) -> tuple[str, int]:
    """Delete a job with its outputs, at once and for good; steps that run stop."""
    web().dispatcher.delete_job(mine().job(job_id).id)
    return "", 204


@blueprint.delete("/<job_id>/outputs/<name>")
def delete_output(job_id: str, name: str) -> tuple[str, int]:
    """Delete a file that the job made, at once and for good; the job stays."""
    web().dispatcher.deleter.output(mine().job(job_id).id, name)
    return "", 204


@blueprint.get("/<job_id>/outputs/<name>")
def output(job_id: str, name: str) -> Response:
    """A file that the job made, whole or by ranges; `?download=1` to save it."""
    job = mine().job(job_id)
    step = next((step for step in job.steps if step.name == name), None)
    if step is None:
        raise UnknownJob(f"The job has no output named {name!r}.")
    if step.output is None and step.state is State.DONE:
        raise Problem(404, f"{name!r} was deleted.")
    if step.output is None:
        raise Problem(404, f"{name!r} is not made: its step is {step.state}.")
    download = request.args.get("download") == "1"
    return send_object(step.output.key, step.name, step.output.content_type, download=download)


@blueprint.get("/<job_id>/outputs.zip")
def archive(job_id: str) -> Response:
    """All files that the job made, in one ZIP, once it has ended; whole or by ranges."""
    return send_archive(mine().job(job_id))
