"""The domain: what an upload, a job and a step are, where they are kept, and who may run a step.

`model` is pure; `wanted` is what a person asks for, and `request` turns it into a job. `tables`,
`rows`, `store`, `claims`, `parts`, `costs` and `backlog` keep all of it in a SQL database, and
`quotas` says how much of it one person may have. `keys` makes the keys of stored objects,
`uploads` accepts one, `analyses` keeps what was seen and heard in it, and `deletions` deletes for
good. The package may import `cutmv.people`, `cutmv.media`, `cutmv.storage` and `cutmv.database`.
"""

from cutmv.jobs.analyses import Analyses, AnalysisRecord, AnalysisState
from cutmv.jobs.backlog import Backlog, Report, report
from cutmv.jobs.claims import Busy, Claimed, Claims, Ended
from cutmv.jobs.costs import Costs
from cutmv.jobs.deletions import Deletion, Deletions
from cutmv.jobs.keys import (
    UPLOADS_PREFIX,
    analysis_key,
    doctor_key,
    job_prefix,
    output_key,
    part_key,
    upload_key_of,
)
from cutmv.jobs.model import (
    MAX_RUNNING_PERCENT,
    UNREAD,
    WAITS_FOR_ROOM,
    WAITS_FOR_STORAGE,
    WAITS_TO_RETRY,
    Division,
    Job,
    KeyReused,
    Output,
    State,
    Step,
    UnknownJob,
    UnknownUpload,
    UnreadableRow,
    Upload,
    new_id,
)
from cutmv.jobs.names import clip_stems, output_name
from cutmv.jobs.parts import Parts, Span
from cutmv.jobs.quotas import TooManySteps
from cutmv.jobs.request import (
    FILM,
    JobRequest,
    TooLargeJob,
    check_job,
    clips_of,
    film_clip,
    film_text,
    outputs_of,
    plan_job,
)
from cutmv.jobs.store import MAX_PAGE_STEPS, JobStore
from cutmv.jobs.uploads import (
    UNFINISHED_AGE_S,
    EmptyUpload,
    MissingParts,
    MultipartUpload,
    MultipartUploads,
    NoVideo,
    TooManyUnfinished,
    WrongPart,
    accept_upload,
    current,
    probe_stored,
    require_stored,
    upload_of,
)
from cutmv.jobs.wanted import OPTIONS, Option, Wanted, usual_aspects

__all__ = [
    "FILM",
    "MAX_PAGE_STEPS",
    "MAX_RUNNING_PERCENT",
    "OPTIONS",
    "UNFINISHED_AGE_S",
    "UNREAD",
    "UPLOADS_PREFIX",
    "WAITS_FOR_ROOM",
    "WAITS_FOR_STORAGE",
    "WAITS_TO_RETRY",
    "Analyses",
    "AnalysisRecord",
    "AnalysisState",
    "Backlog",
    "Busy",
    "Claimed",
    "Claims",
    "Costs",
    "Deletion",
    "Deletions",
    "Division",
    "EmptyUpload",
    "Ended",
    "Job",
    "JobRequest",
    "JobStore",
    "KeyReused",
    "MissingParts",
    "MultipartUpload",
    "MultipartUploads",
    "NoVideo",
    "Option",
    "Output",
    "Parts",
    "Report",
    "Span",
    "State",
    "Step",
    "TooLargeJob",
    "TooManySteps",
    "TooManyUnfinished",
    "UnknownJob",
    "UnknownUpload",
    "UnreadableRow",
    "Upload",
    "Wanted",
    "WrongPart",
    "accept_upload",
    "analysis_key",
    "check_job",
    "clip_stems",
    "clips_of",
    "current",
    "doctor_key",
    "film_clip",
    "film_text",
    "job_prefix",
    "new_id",
    "output_key",
    "output_name",
    "outputs_of",
    "part_key",
    "plan_job",
    "probe_stored",
    "report",
    "require_stored",
    "upload_key_of",
    "upload_of",
    "usual_aspects",
]
