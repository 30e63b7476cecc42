"""Shares of a job: its owner makes links for anybody, sees which there are, and ends them."""

from flask import Blueprint, Response, jsonify, request, url_for

from cutmv.jobs import Shares
from cutmv.web.access import mine
from cutmv.web.api.problems import json_body, validated
from cutmv.web.api.shares.models import ShareBody, share_json
from cutmv.web.state import web

blueprint = Blueprint("shares", __name__, url_prefix="/api/jobs/<job_id>/shares")


@blueprint.get("")
def index(job_id: str) -> Response:
    """The links of a job that are good, the newest first."""
    return jsonify(shares=[share_json(each) for each in _shares().of(mine().job(job_id).id)])


@blueprint.post("")
def create(job_id: str) -> tuple[Response, int]:
    """Make a link to a job's outputs, or to one of them; this answer alone has it."""
    job, wanted = mine().job(job_id), validated(ShareBody, json_body())
    share, token = _shares().add(job, wanted.output, wanted.days)
    return jsonify({**share_json(share), "url": _url(token)}), 201


@blueprint.delete("/<share_id>")
def delete(job_id: str, share_id: str) -> tuple[str, int]:
    """End a link at once."""
    _shares().end(mine().job(job_id).id, share_id)
    return "", 204


def _shares() -> Shares:
    return Shares(web().services.store)


def _url(token: str) -> str:
    """The address of a share, by CUTMV_URL where it is set."""
    here = web().services.settings.access.url or request.host_url
    return here.rstrip("/") + url_for("shared.show", token=token)
