"""The ZIP of what a job has made, and the checksums that it tells before it has the files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from cutmv.jobs.keys import job_prefix
from cutmv.jobs.model import Job, Output
from cutmv.jobs.names import clip_stems
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import steps
from cutmv.storage import Archive, ArchivedFile, ObjectNotFound, Storage, crc32_of


@dataclass(frozen=True)
class JobArchive:
    """A ZIP, what it is called, and since when it is as it is, in seconds since 1970."""

    zip: Archive
    filename: str
    modified_s: float


def archive_of(store: JobStore, storage: Storage, job: Job) -> JobArchive:
    """The ZIP of the outputs of a job that has ended.

    An output whose checksum is not known yet is read once: one of an earlier version, or whose
    worker ended before it could tell. Raises ObjectNotFound where there are none, or one of them is
    lost; StorageError, SQLAlchemyError.
    """
    made = [(step.id, step.name, step.output) for step in job.steps if step.output]
    if not made:
        raise ObjectNotFound("The job has no outputs.")
    # What is lost is told before the answer begins, by one listing.
    stored = {stat.key: stat.size for stat in storage.list(job_prefix(job.id))}
    _require(stored, [output for _, _, output in made])
    files = [
        ArchivedFile(
            name,
            output.size,
            _checksum(store, storage, step_id, output),
            partial(storage.open_range, output.key),
        )
        for step_id, name, output in made
    ]
    modified_s = job.finished_at or job.created_at
    [stem] = clip_stems(job.upload.filename, ["clips"])
    return JobArchive(Archive(files, modified_s), f"{stem}.zip", modified_s)


def _require(stored: dict[str, int], outputs: Sequence[Output]) -> None:
    if any(stored.get(output.key) != output.size for output in outputs):
        raise ObjectNotFound("A file of the job is not as it was.")


def _checksum(store: JobStore, storage: Storage, step_id: str, output: Output) -> int:
    if output.crc32 is not None:
        return output.crc32
    with storage.open_range(output.key) as blocks:
        found = crc32_of(blocks)
    with store.engine.begin() as db:
        own = (steps.c.id == step_id, steps.c.output_key == output.key)
        db.execute(steps.update().where(*own).values(output_crc32=found))
    return found
