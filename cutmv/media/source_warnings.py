"""Sentences about what an output's source has that the output has not, or not alike. Pure."""

from cutmv.media.info import VideoStream
from cutmv.media.plan import RenderPlan
from cutmv.media.products.spec import FILMS, SOUNDS

#: What people call the two curves of light of HDR.
_HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
_MATRICES = {"bt709": "BT.709", "smpte170m": "BT.601"}


def of_output(plan: RenderPlan, *, copied: bool) -> list[str]:
    """What to tell of an output by a plan; `copied` says that packets of the source are in it."""
    video, spec = plan.video, plan.spec
    if spec.kind in SOUNDS:
        return []
    found = []
    if video.inside:
        left, top, _, _ = video.inside
        found.append(
            f"Black bars were removed: {video.width}×{video.height} pixels are left"
            f" ({left} were left of them, and {top} above)."
        )
    elif spec.remove_bars:
        found.append("No black bars were found beyond doubt: the picture is left whole.")
    if spec.kind in FILMS and video.variable:
        what = "each keeps its own time"
        if plan.pictures:
            what = f"{float(plan.pictures / plan.length_s):.4g} a second are made of them"
        found.append(f"The source's frames are not evenly spaced: {what}.")
    return found if copied else [*found, *_of_encoded(video, film=spec.kind in FILMS)]


def _of_encoded(video: VideoStream, *, film: bool) -> list[str]:
    found = []
    if video.interlaced:
        found.append("The source is interlaced: its fields are made whole frames.")
    if video.hdr:
        untold = None in (video.color_primaries, video.color_space)
        assumed = ", and told in part, so that BT.2020 is assumed" if untold else ""
        curve = _HDR[str(video.color_transfer)]
        found.append(f"The source is HDR ({curve}){assumed}: it is mapped to BT.709.")
    elif video.rgb:
        found.append("The source's pixels are red, green and blue: they are made BT.709.")
    elif video.color_space is None and not film:  # a film tells no more than its source
        matrix = _MATRICES[video.assumed_matrix]
        found.append(f"The source does not tell its colours: those of {matrix} are assumed.")
    return found
