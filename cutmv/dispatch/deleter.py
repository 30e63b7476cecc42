"""Deletes uploads, jobs and outputs for good: rows first, then what the storage and others have."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from cutmv.app import app
from cutmv.database import DATABASE_AWAY
from cutmv.jobs import (
    Deletion,
    Deletions,
    MultipartUploads,
    UnknownJob,
    UnknownUpload,
    object_upload_id,
    upload_prefix,
)
from cutmv.media import forget
from cutmv.services import Services
from cutmv.storage import ObjectNotFound, StorageError

log = logging.getLogger(__name__)


class Deleter:
    """Deletes what a person asks to be deleted, or what has expired.

    What can't be deleted now, since the storage is away or this process dies, is noted in the job
    store; `finish` deletes it. Every method raises SQLAlchemyError when the job store fails.
    """

    def __init__(self, services: Services) -> None:
        self._services, self._deletions = services, Deletions(services.store)

    def job(self, job_id: str) -> None:
        """Delete a job with its outputs; its running steps stop. Raises UnknownJob."""
        self._delete(lambda: self._deletions.job(job_id))

    def upload(
        self, upload_id: str, *, if_unused: bool = False, keeps_object: bool = False
    ) -> None:
        """Delete an upload, and all that was made of it. As `Deletions.upload`."""
        self._delete(
            lambda: self._deletions.upload(
                upload_id, if_unused=if_unused, keeps_object=keeps_object
            )
        )

    def output(self, job_id: str, name: str) -> None:
        """Delete one output of a job. Raises UnknownJob."""
        self._delete(lambda: self._deletions.output(job_id, name))

    def account(self, person_id: str) -> None:
        """Delete an account with all that it has; nothing new comes meanwhile, nor stays.

        What can't be deleted now a janitor deletes. Raises UnknownPerson, LastAdministrator.
        """
        accounts = self._services.accounts
        self._services.freeing(lambda: accounts.begin_end(person_id))
        self._end(person_id)

    def _end(self, person_id: str) -> None:
        """Delete all that a person has, and then the account; what fails is tried again later."""
        services = self._services
        begun = MultipartUploads(services.store, services.storage)
        away: Exception | None = None
        try:
            for unfinished in begun.of_person(person_id):
                try:
                    begun.abort(unfinished)
                except StorageError as error:
                    away = error
            uploads, jobs = self._deletions.of_person(person_id)
            for upload_id in uploads:
                with suppress(UnknownUpload):
                    self.upload(upload_id)
            for job_id in jobs:
                with suppress(UnknownJob):  # it went with its upload
                    self.job(job_id)
            if away is None:
                self._deletions.rest_of_person(person_id)
                services.accounts.delete(person_id)
        except DATABASE_AWAY as error:
            away = error
        if away is None:
            log.info("account %s is deleted with all that it had", person_id)
        else:
            log.warning("account %s is not deleted yet: %s", person_id, type(away).__name__)

    def finish(self) -> None:
        """Finish the deletions that others have begun, of accounts too."""
        for person_id in self._services.accounts.ending():
            self._end(person_id)
        for deletion in self._deletions.pending():
            self._carry_out(deletion)

    def sweep(self) -> None:
        """Delete what was stored late of what was deleted, and then the notes of it."""
        for deletion in self._deletions.recent():
            self._carry_out(deletion)
        self._deletions.forget()

    def _delete(self, begin: Callable[[], Deletion]) -> None:
        deletion = self._services.freeing(begin)
        log.info("%s is deleted", deletion.id)
        self._carry_out(deletion)

    def _carry_out(self, deletion: Deletion) -> None:
        storage = self._services.storage
        try:
            for key in deletion.sources:
                with suppress(ObjectNotFound):
                    storage.stat(key)
                    forget(storage.source(key), self._services.cache)
            # An object of others may have come again, and be an upload of the same id.
            is_back = self._services.store.knows_upload(deletion.id)
            for prefix in deletion.prefixes:
                if not (is_back and prefix == upload_prefix(deletion.id, "")):
                    storage.delete_prefix(prefix)
            if deletion.object and not is_back:
                self._delete_object(deletion)
            if self._services.settings.mode != "eager":
                _forget_results(deletion.results)
            self._deletions.done(deletion)
        except (StorageError, *DATABASE_AWAY) as error:
            log.warning("%s is not deleted yet: %s", deletion.id, type(error).__name__)

    def _delete_object(self, deletion: Deletion) -> None:
        """Delete the object of a deleted upload, and none that has taken its place."""
        storage = self._services.storage
        with suppress(ObjectNotFound):
            if object_upload_id(storage.stat(deletion.object)) == deletion.id:
                storage.delete(deletion.object)


def _forget_results(task_ids: Sequence[str]) -> None:
    """Delete results of Celery's, which expire soon if that fails."""
    try:
        for task_id in task_ids:
            app.backend.forget(task_id)
    except Exception as error:  # each backend raises errors of its own
        log.debug("results are left to expire: %s", type(error).__name__)
