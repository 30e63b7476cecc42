"""Suggestions of clips of an upload: have it analysed, look at what was found, end it."""

from flask import Blueprint, Response, jsonify, request

from cutmv.jobs import ANALYSIS, DerivativeState, Record
from cutmv.media import Analysis, suggest
from cutmv.web.access import mine
from cutmv.web.api.problems import Problem, validated
from cutmv.web.api.timeline.derivatives import wanted_of
from cutmv.web.api.timeline.suggestion_models import SuggestionsQuery
from cutmv.web.state import web

blueprint = Blueprint("suggestions", __name__, url_prefix="/api/uploads")


@blueprint.post("/<upload_id>/suggestions")
def create(upload_id: str) -> tuple[Response, int]:
    """Have an upload analysed, unless it is or was."""
    record = wanted_of(ANALYSIS, mine().upload(upload_id))
    return _pending(record), 200 if record.state is DerivativeState.DONE else 202


@blueprint.get("/<upload_id>/suggestions")
def show(upload_id: str) -> tuple[Response, int]:
    """Clips of an upload, the best first, or how far its analysis is."""
    wanted = validated(SuggestionsQuery, request.args.to_dict())
    record = web().dispatcher.derivatives.record(ANALYSIS, mine().upload(upload_id))
    if record is None:
        raise Problem(404, "The video was not analysed: POST here to have that done.")
    if record.state is DerivativeState.FAILED:
        raise Problem(422, record.error or "The video can't be analysed.")
    if record.found is None:
        if not record.pending_s:
            raise Problem(422, "The analysis was lost with its worker: POST here to repeat it.")
        return _pending(record), 202
    found = suggest(record.found, clips=wanted.clips, length_s=wanted.length_s, on=wanted.on)
    clips = [each.to_json() for each in found.clips]
    seen = record.found
    told = {
        "notes": found.notes,
        "clips": clips,
        "scenes": seen.scenes,
        "beats": seen.beat_pictures,
    }
    return jsonify(state=record.state, percent=100.0, **told), 200


@blueprint.delete("/<upload_id>/suggestions")
def cancel(upload_id: str) -> tuple[str, int]:
    """Forget the analysis of an upload; one that runs ends within seconds."""
    web().dispatcher.derivatives.forget(ANALYSIS, mine().upload(upload_id))
    return "", 204


def _pending(record: Record[Analysis]) -> Response:
    return jsonify(
        state=record.state, percent=record.percent, notes=[], clips=[], scenes=[], beats=[]
    )
