"""The domain: what an upload, a job and a step are, where they are kept, and who may run a step.

`model` is pure; `wanted` is what a person asks for, and `request` turns it into a job. `tables`,
`store`, `claims` and `backlog` keep all of it in a SQL database. `keys` makes the keys of stored
objects, `uploads` accepts an upload, `analyses` keeps what was seen and heard in it, and `archive`
makes a ZIP. The package may import `cutmv.media` and `cutmv.storage`.
"""

from cutmv.jobs.analyses import Analyses, AnalysisRecord, AnalysisState
from cutmv.jobs.archive import ArchivedFile, zipped
from cutmv.jobs.backlog import Backlog, Report, report
from cutmv.jobs.claims import Busy, Claimed, Claims, Ended
from cutmv.jobs.keys import (
    UPLOADS_PREFIX,
    analysis_key,
    doctor_key,
    job_prefix,
    output_key,
    upload_key_of,
)
from cutmv.jobs.model import (
    WAITS_FOR_ROOM,
    WAITS_FOR_STORAGE,
    WAITS_TO_RETRY,
    Job,
    KeyReused,
    Output,
    State,
    Step,
    UnknownJob,
    UnknownUpload,
    Upload,
    new_id,
)
from cutmv.jobs.names import clip_stems, output_name
from cutmv.jobs.request import FILM, JobRequest, clips_of, film_text, outputs_of, plan_job
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import DATABASE_AWAY, metadata
from cutmv.jobs.uploads import EmptyUpload, NoVideo, accept_upload, probe_stored
from cutmv.jobs.wanted import OPTIONS, Option, Wanted

__all__ = [
    "DATABASE_AWAY",
    "FILM",
    "OPTIONS",
    "UPLOADS_PREFIX",
    "WAITS_FOR_ROOM",
    "WAITS_FOR_STORAGE",
    "WAITS_TO_RETRY",
    "Analyses",
    "AnalysisRecord",
    "AnalysisState",
    "ArchivedFile",
    "Backlog",
    "Busy",
    "Claimed",
    "Claims",
    "EmptyUpload",
    "Ended",
    "Job",
    "JobRequest",
    "JobStore",
    "KeyReused",
    "NoVideo",
    "Option",
    "Output",
    "Report",
    "State",
    "Step",
    "UnknownJob",
    "UnknownUpload",
    "Upload",
    "Wanted",
    "accept_upload",
    "analysis_key",
    "clip_stems",
    "clips_of",
    "doctor_key",
    "film_text",
    "job_prefix",
    "metadata",
    "new_id",
    "output_key",
    "output_name",
    "outputs_of",
    "plan_job",
    "probe_stored",
    "report",
    "upload_key_of",
    "zipped",
]
