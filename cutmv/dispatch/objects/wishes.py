"""Which job is made of an object that others have put: by its folder, and the list beside it."""

from dataclasses import replace

from cutmv.config import IncomingObjects
from cutmv.dispatch.deriving import publish_derivative
from cutmv.jobs import ANALYSIS, Derivatives, DerivativeState, JobRequest, Upload, plan_job
from cutmv.media import (
    SUGGESTED_S,
    Analysis,
    MediaError,
    clip_list,
    preset,
    presets,
    suggest,
)
from cutmv.services import Services
from cutmv.storage import ObjectNotFound

#: How the names of lists of clips end that stand beside a video.
LISTS = (".txt", ".csv", ".edl")
#: Bytes of such a list: as many clips as a job may have, with long labels.
MAX_LIST_BYTES = 200_000
#: A clip of the whole video.
WHOLE = "0-end"
#: Seconds until a look at whether an analysis is there: it takes about a tenth of the video.
ANALYSIS_LOOK_S = 15.0


class NotAnalysed(Exception):
    """The analysis by which clips are chosen is not there yet."""

    def __init__(self) -> None:
        super().__init__("its analysis is not there yet")


def is_list(key: str) -> bool:
    """Whether an object is a list of clips by its name, which is read with its video."""
    return key.lower().endswith(LISTS)


def request_of(services: Services, upload: Upload) -> JobRequest | None:
    """The job that is wanted of an object's upload; None for none.

    With a list of clips beside it these are cut. Else, by a preset, the whole video where the
    preset takes it, or else the clips that are suggested. Raises MediaError where none can be made;
    NotAnalysed, TooManyDerivatives, StorageFull, TooManyRows, StorageError, and whatever the broker
    raises.
    """
    wanted = _preset_of(services.settings.incoming, upload.key)
    request = JobRequest(upload_id=upload.id)
    if wanted:
        request = replace(request, presets=(wanted,), aspects=())
    listed = _list_beside(services, upload.key)
    if listed is not None:
        return replace(request, clip_list=listed)
    if not wanted:
        return None
    spec = preset(wanted).spec
    if spec.kind == "cutdown" or upload.info.duration_s <= SUGGESTED_S:
        whole = replace(request, clips=(WHOLE,))
        if spec.longest_s is None or upload.info.duration_s <= spec.longest_s:
            plan_job(upload, whole)
            return whole
    found = suggest(_analysis_of(services, upload))
    return replace(request, clip_list=clip_list(found))


def _preset_of(incoming: IncomingObjects, key: str) -> str:
    """The preset that the first folder names, or the deployment's; perhaps none."""
    folder, slash, _ = key.removeprefix(incoming.prefix).partition("/")
    return folder if slash and folder in presets() else incoming.preset


def _list_beside(services: Services, key: str) -> str | None:
    folder, slash, name = key.rpartition("/")
    stem = name.rpartition(".")[0] or name
    for ending in LISTS:
        try:
            with services.storage.open_range(
                f"{folder}{slash}{stem}{ending}", 0, MAX_LIST_BYTES + 1
            ) as chunks:
                text = b"".join(chunks)
        except ObjectNotFound:
            continue
        try:
            if len(text) <= MAX_LIST_BYTES:
                return text.decode()
        except UnicodeDecodeError:
            pass
        raise MediaError(f"{stem}{ending} is no list of clips: it is too long, or no UTF-8 text.")
    return None


def _analysis_of(services: Services, upload: Upload) -> Analysis:
    """The analysis of an upload, which a worker is asked for if need be. Raises NotAnalysed."""
    derivatives = Derivatives(services.store, services.storage)
    record = derivatives.record(ANALYSIS, upload)
    if record is not None and record.state is DerivativeState.FAILED:
        raise MediaError(record.error or "The video can't be analysed.")
    if record is not None and record.found is not None and record.state is DerivativeState.DONE:
        return record.found
    is_asked_for = record is not None and record.pending_s
    if not is_asked_for and derivatives.ask(ANALYSIS, upload):  # else a janitor sends it in turn
        derivatives.prepare(ANALYSIS, upload)
        publish_derivative(services.settings, ANALYSIS, upload)
        derivatives.sent(ANALYSIS, upload)
    raise NotAnalysed
