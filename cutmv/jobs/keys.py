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

Celery and the transport write the last two themselves, where the configuration tells them to.
"""

#: What the keys of all uploads start with.
UPLOADS_PREFIX = "uploads/"
#: The name of the peaks of an upload's sound.
PEAKS = "peaks"
#: The name of the film that is an upload's proxy.
FILM_OF_PROXY = "proxy.mp4"


def upload_key(upload_id: str) -> str:
    """The key of an uploaded video."""
    return f"{UPLOADS_PREFIX}{upload_id}/source"


def upload_prefix(upload_key: str) -> str:
    """What the keys of all that belongs to the uploaded video `upload_key` start with."""
    return upload_key.rpartition("/")[0] + "/"


def derivative_key(upload_key: str, name: str) -> str:
    """The key of what is made of the uploaded video `upload_key`, by its name."""
    return upload_key.removesuffix("source") + name


def sheet_name(number: int) -> str:
    """The name of a sheet of an upload's small pictures, by its number from 0."""
    return f"sheet-{number}"


def upload_key_of(key: str) -> str:
    """The key of the uploaded video that an object of UPLOADS_PREFIX is, or belongs to."""
    return key.rpartition("/")[0] + "/source"


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
