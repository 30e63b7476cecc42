"""The overview of an upload: have it made, see what there is of it, get its parts."""

from flask import Blueprint, Response, jsonify

from cutmv.jobs import (
    OVERVIEW,
    PEAKS,
    DerivativeState,
    Record,
    Upload,
    derivative_key,
    sheet_name,
)
from cutmv.media import Overview
from cutmv.web.access import mine
from cutmv.web.api.contents import send_object
from cutmv.web.api.timeline.derivatives import kept_of, told_of, wanted_of

blueprint = Blueprint("overviews", __name__, url_prefix="/api/uploads")


@blueprint.post("/<upload_id>/overview")
def create(upload_id: str) -> tuple[Response, int]:
    """Have small pictures of an upload made, and the peaks of its sound, once."""
    upload = mine().upload(upload_id)
    record = wanted_of(OVERVIEW, upload)
    return _shown(upload, record), 200 if record.state is DerivativeState.DONE else 202


@blueprint.get("/<upload_id>/overview")
def show(upload_id: str) -> tuple[Response, int]:
    """What there is of an upload's overview, which grows while it is made."""
    upload = mine().upload(upload_id)
    record = kept_of(OVERVIEW, upload)
    return _shown(upload, record), 202 if record.pending_s else 200


@blueprint.get("/<upload_id>/overview/sheets/<int:sheet_number>")
def sheet(upload_id: str, sheet_number: int) -> Response:
    """Small pictures, side by side in one JPEG."""
    return _part(upload_id, sheet_name(sheet_number), "image/jpeg")


@blueprint.get("/<upload_id>/overview/peaks")
def peaks(upload_id: str) -> Response:
    """The lowest and the highest sample of each short while, as signed bytes."""
    return _part(upload_id, PEAKS, "application/octet-stream")


def _part(upload_id: str, name: str, content_type: str) -> Response:
    key = derivative_key(mine().upload(upload_id), name)
    return send_object(key, name, content_type, download=False)


def _shown(upload: Upload, record: Record[Overview]) -> Response:
    """A record as the API shows it (`OverviewOut`)."""
    seen = record.found
    told = told_of(record) | {
        "tile": seen and {"width": seen.width, "height": seen.height},
        "sheets": [],
        "peaks": None,
        "keys": [],
    }
    if seen:
        url = f"/api/uploads/{upload.id}/overview"
        told["sheets"] = [
            # What is made again may be other pictures, which a browser must not take for these.
            {
                "url": f"{url}/sheets/{number}?of={each.times[0]}-{len(each.times)}",
                "times": each.times,
                "columns": each.columns,
            }
            for number, each in enumerate(seen.sheets)
        ]
        told["keys"] = seen.keys
        if seen.peaks:
            told["peaks"] = {
                "url": f"{url}/peaks?of={seen.peaks:g}-{'part' if seen.rough else 'all'}",
                "a_second": seen.peaks,
                "rough": seen.rough,
            }
    return jsonify(told)
