"""Suggestions of clips of an upload: have it analysed, look at what was found, end it."""

import logging

from flask import Blueprint, Response, jsonify, request

from cutmv.jobs import Analyses, AnalysisRecord, AnalysisState
from cutmv.media import suggest
from cutmv.web.access import mine
from cutmv.web.api.problems import Problem, validated
from cutmv.web.api.suggestion_models import SuggestionsQuery
from cutmv.web.clients import client_key
from cutmv.web.state import web

blueprint = Blueprint("suggestions", __name__, url_prefix="/api/uploads")
log = logging.getLogger(__name__)


@blueprint.post("/<upload_id>/suggestions")
def create(upload_id: str) -> tuple[Response, int]:
    """Have an upload analysed, unless it is or was."""
    services = web().services
    upload, analyses = mine().upload(upload_id), Analyses(services.storage)
    record = analyses.of(upload)
    if record is None or not (record.pending_s or record.state is AnalysisState.DONE):
        services.room.require()
        record = analyses.keep(upload, AnalysisRecord(AnalysisState.QUEUED))
        web().dispatcher.analyse(upload, client_key())
        log.info("upload %s is to be analysed", upload.id)
    return _pending(record), 200 if record.state is AnalysisState.DONE else 202


@blueprint.get("/<upload_id>/suggestions")
def show(upload_id: str) -> tuple[Response, int]:
    """Clips of an upload, the best first, or how far its analysis is."""
    services = web().services
    wanted = validated(SuggestionsQuery, request.args.to_dict())
    record = Analyses(services.storage).of(mine().upload(upload_id))
    if record is None:
        raise Problem(404, "The video was not analysed: POST here to have that done.")
    if record.state is AnalysisState.FAILED:
        raise Problem(422, record.error or "The video can't be analysed.")
    if record.analysis is None:
        if not record.pending_s:
            raise Problem(422, "The analysis was lost with its worker: POST here to repeat it.")
        return _pending(record), 202
    found = suggest(record.analysis, clips=wanted.clips, length_s=wanted.length_s, on=wanted.on)
    clips = [each.to_json() for each in found.clips]
    return jsonify(state=record.state, percent=100.0, notes=list(found.notes), clips=clips), 200


@blueprint.delete("/<upload_id>/suggestions")
def cancel(upload_id: str) -> tuple[str, int]:
    """Forget the analysis of an upload; one that runs ends within seconds."""
    services = web().services
    Analyses(services.storage).forget(mine().upload(upload_id))
    return "", 204


def _pending(record: AnalysisRecord) -> Response:
    return jsonify(state=record.state, percent=record.percent, notes=[], clips=[])
