"""The keys of all objects that CUTMV keeps in its storage.

    uploads/UPLOAD/source     an uploaded video
    uploads/UPLOAD/NAME       what is made of it (`cutmv.jobs.derivatives`): its analysis, its
                              overview with its peaks, and its small pictures, sheet-0 and so on;
                              its proxy, proxy.mp4
    jobs/JOB/STEP/NAME        an output of a step
    jobs/JOB/STEP/parts/PART  a part of one, until all are joined
    doctor/ID                 what `cutmv doctor` writes to see whether it can, and deletes
    results/…                 Celery's results (`cutmv.config.RESULTS_PREFIX`)
    celery/…                  the transport's lease ledger and large messages

Celery and the transport write the last two themselves, where the configuration tells them to. An
object of others that is an upload (`cutmv.jobs.uploads.objects`) stays where they have put it, and
what is made of it lies below the upload's id.
"""

from cutmv.jobs.model import Upload

#: What the keys of all uploads start with that came through us.
UPLOADS_PREFIX = "uploads/"
#: The name of the peaks of an upload's sound.
PEAKS = "peaks"
#: What the names of the sheets of an upload's small pictures begin with.
SHEET = "sheet-"
#: The name of the film that is an upload's proxy.
FILM_OF_PROXY = "proxy.mp4"


def upload_key(upload_id: str) -> str:
    """The key of an uploaded video."""
    return f"{UPLOADS_PREFIX}{upload_id}/source"


def is_ours(upload_key: str) -> bool:
    """Whether an uploaded video came through us; else it is an object that others have put."""
    return upload_key.startswith(UPLOADS_PREFIX)


def upload_prefix(upload_id: str, key: str) -> str:
    """What the keys of all that is made of an uploaded video start with, as its own if ours."""
    return key.rpartition("/")[0] + "/" if is_ours(key) else f"{UPLOADS_PREFIX}{upload_id}/"


def derivative_key(upload: Upload, name: str) -> str:
    """The key of what is made of an upload, by its name."""
    return upload_prefix(upload.id, upload.key) + name


def sheet_name(number: int) -> str:
    """The name of a sheet of an upload's small pictures, by its number from 0."""
    return f"{SHEET}{number}"


def folder_of(key: str) -> str:
    """The name of the folder in UPLOADS_PREFIX in which an object is."""
    return key.removeprefix(UPLOADS_PREFIX).partition("/")[0]


def job_prefix(job_id: str) -> str:
    """What the keys of all outputs of a job start with."""
    return f"jobs/{job_id}/"


def step_prefix(job_id: str, step_id: str) -> str:
    """What the keys of all that a step has made start with."""
    return f"{job_prefix(job_id)}{step_id}/"


def output_key(job_id: str, step_id: str, name: str) -> str:
    """The key of the output `name` of a step; it is the same for each attempt at the step."""
    return f"{step_prefix(job_id, step_id)}{name}"


def part_key(job_id: str, step_id: str, part_id: str) -> str:
    """The key of a part of a step; it is the same for each attempt at it."""
    return f"{step_prefix(job_id, step_id)}parts/{part_id}"


def doctor_key(check_id: str) -> str:
    """The key of the object that one check of `cutmv doctor` writes."""
    return f"doctor/{check_id}"
