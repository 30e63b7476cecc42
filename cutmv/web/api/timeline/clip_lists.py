"""Read a list of clips that somebody pastes, as `cutmv cut --clips` does; nothing is made."""

from flask import Blueprint, Response, jsonify

from cutmv.media import read_clip_list
from cutmv.web.access import mine
from cutmv.web.api.problems import json_body, validated
from cutmv.web.api.timeline.clip_list_models import ClipListBody

blueprint = Blueprint("clip_lists", __name__, url_prefix="/api/uploads")


@blueprint.post("/<upload_id>/clip-list")
def read(upload_id: str) -> Response:
    """The clips that a list names of an upload, and the lines that can't be read."""
    upload = mine().upload(upload_id)
    wanted = validated(ClipListBody, json_body())
    clips, wrong = read_clip_list(wanted.text, upload.info.times)
    return jsonify(
        clips=[
            {
                "text": each.text,
                "label": each.label,
                "start": float(each.clip.start),
                "end": float(each.clip.end),
            }
            for each in clips
        ],
        wrong=[{"line": each.number, "text": each.text, "why": each.why} for each in wrong],
    )
