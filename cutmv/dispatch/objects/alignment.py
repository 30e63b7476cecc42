"""Brings the uploads of a key in line with the object that is there.

What R2 has told only names the key: what is there decides. So it may tell of an object twice, late
and in any order, and whoever dies on the way leaves it to the message, which comes again.
"""

import logging
from contextlib import suppress

from cutmv.dispatch.deleter import Deleter
from cutmv.dispatch.objects.wishes import request_of
from cutmv.jobs import (
    Backlog,
    Costs,
    Deletions,
    EmptyUpload,
    Job,
    NoVideo,
    State,
    StorageFull,
    TooLargeJob,
    TooManyRows,
    UnknownJob,
    UnknownUpload,
    Upload,
    accept_object,
    check_job,
    current,
    id_for,
    object_upload_id,
    plan_job,
    uploads_of_key,
)
from cutmv.media import MediaError, preset
from cutmv.people import AccountGone
from cutmv.services import Services
from cutmv.storage import ObjectNotFound, ObjectStat, StorageUnavailable, TooLarge
from cutmv.worker import publish

#: Looks at an object that changes all the time, until that is left to a later look.
MAX_LOOKS = 5

log = logging.getLogger(__name__)


class Mendable(Exception):
    """An object can't be an upload, or have a job, before a person does something; one line."""


class Objects:
    """The objects of others in the bucket, and the uploads that stand for them."""

    def __init__(self, services: Services) -> None:
        self._services, self._store = services, services.store
        self._deletions, self._deleter = Deletions(services.store), Deleter(services)

    def align(self, key: str) -> Upload | None:
        """Have there be the upload of the object of this key, and none of one that is gone.

        Returns it; None where there is none. Uploads of objects that were replaced stay while jobs
        use them. Raises Mendable, MediaUnavailable, StorageError and SQLAlchemyError.
        """
        for _ in range(MAX_LOOKS):
            # Before the look: of what comes after that another message tells.
            known = uploads_of_key(self._store, key)
            found = self._look(key)
            try:
                upload = self._accepted(found) if found else None
            except ObjectNotFound:
                continue
            for other in known:
                if upload is None or other != upload.id:
                    with suppress(UnknownUpload):
                        self._deleter.upload(other, if_unused=found is not None, keeps_object=True)
            if self._is_still(found, key):
                return upload
        raise StorageUnavailable("The object changes all the time.")

    def have_job_made(self, upload: Upload) -> None:
        """Make and send the job that is wanted of an object's upload, once.

        Raises Mendable, NotAnalysed, TooManySteps, TooManyDerivatives, UnknownUpload, StorageError
        and SQLAlchemyError, and whatever the broker raises.
        """
        key = f"object {upload.id}"
        job_id = id_for("job", key)
        try:
            job = self._store.job(job_id)
        except UnknownJob:
            if self._deletions.knows(job_id):
                return  # a person has deleted it
            try:
                planned = self._planned(upload, key)
                if planned is None:
                    return
                job = self._store.add_job(planned)
            except (MediaError, TooLargeJob) as error:
                log.warning("object %s makes no job: %s", upload.key, error)
                return
            except (StorageFull, TooManyRows) as error:
                raise Mendable(f"its owner has no room for a job's outputs: {error}") from None
            log.info("object %s makes job %s: %d outputs", upload.key, job.id, len(job.steps))
        self._send(job)

    def _look(self, key: str) -> ObjectStat | None:
        try:
            return self._services.storage.stat(key)
        except ObjectNotFound:
            return None

    def _is_still(self, found: ObjectStat | None, key: str) -> bool:
        again = self._look(key)
        return (again and again.etag) == (found and found.etag)

    def _accepted(self, found: ObjectStat) -> Upload | None:
        """The upload of an object; None for what can be none, which is told in one line."""
        settings, upload_id = self._services.settings, object_upload_id(found)
        if self._deletions.is_pending(upload_id):
            return None  # the object is about to go
        with suppress(UnknownUpload):
            return self._store.upload(upload_id)
        try:
            upload = accept_object(
                self._store,
                self._services.storage,
                found,
                person_id=self._owner(),
                max_bytes=settings.max_upload_bytes,
                cache=self._services.cache,
            )
        except (EmptyUpload, NoVideo, MediaError, TooLarge) as error:
            log.warning("object %s is no upload: %s", found.key, error)
            return None
        except (StorageFull, TooManyRows, AccountGone) as error:
            raise Mendable(f"its owner can't have it: {error or type(error).__name__}") from None
        log.info("object %s is upload %s: %d bytes", found.key, upload.id, upload.size)
        return upload

    def _owner(self) -> str | None:
        address = self._services.settings.incoming.owner
        if not address:
            return None
        person = self._services.accounts.find(address)
        if person is None:
            raise Mendable(f"CUTMV_INCOMING_OWNER is {address}, and there is no such account")
        return person.id

    def _planned(self, upload: Upload, key: str) -> Job | None:
        services = self._services
        if usual := services.settings.incoming.preset:
            try:
                preset(usual)
            except MediaError as error:
                raise Mendable(f"CUTMV_INCOMING_PRESET is wrong: {error}") from None
        upload = current(self._store, services.storage, upload, services.cache)
        request = request_of(services, upload)
        if request is None:
            return None
        planned = plan_job(upload, request, key)
        check_job(planned, services.settings.limits)
        return planned

    def _send(self, job: Job) -> None:
        """Send the steps of a job that nobody has sent; a janitor sends those of a held one."""
        backlog, mode = Backlog(self._store), self._services.settings.mode
        if job.route is not None or job.state is not State.QUEUED or backlog.hold(job.id, mode):
            return
        first = job.steps[: backlog.room(job.id)]
        if first:
            publish(self._services.settings, job, first, Costs(self._store).model())
            backlog.sent([step.id for step in first], mode)
