"""The Celery task that analyses an upload, which is thin: `cutmv.worker.analysis` does it."""

import contextlib
import logging
import random
from typing import Any

from celery import Task

from cutmv.app import app
from cutmv.jobs import UnknownUpload
from cutmv.media import MediaError
from cutmv.services import services
from cutmv.storage import StorageError
from cutmv.worker.analysis import AnalysisBusy, AnalysisRun
from cutmv.worker.tasks import BUSY_MARGIN_S, PASSING_ERRORS, WAIT_S, backoff_s, local_context

log = logging.getLogger(__name__)


@app.task(
    name="cutmv.analyse",
    bind=True,
    ignore_result=True,
    max_retries=None,
    throws=(MediaError, UnknownUpload),
)
def analyse_upload(self: "Task[Any, Any]", /, upload_id: str, **_later: object) -> None:
    """Analyse an upload and keep what is found, once, however often it is delivered.

    What a later version's message has beside it is left out.
    """
    local, run = local_context.get(), None
    try:
        stopping = local.stopping.is_set if local else lambda: False
        run = AnalysisRun(local.services if local else services(), upload_id, stopping)
        run.run()
    except AnalysisBusy as busy:
        if not local:
            raise self.retry(countdown=busy.remaining_s + BUSY_MARGIN_S, exc=busy) from busy
    except (MediaError, UnknownUpload):
        raise
    except PASSING_ERRORS as error:
        tries = 1 + self.request.retries
        most = 1 + (local.services if local else services()).settings.max_retries
        if local or tries >= most:
            with contextlib.suppress(StorageError):  # the record is given up by its age then
                if run:
                    told = "tries" if tries > 1 else "try"
                    run.fail(f"Given up after {tries} {told}: {error}")
            raise
        log.warning("the analysis of upload %s: %s; it is tried again", upload_id, error)
        due_s = max(random.uniform(0.5, 1.0) * WAIT_S, backoff_s(tries))
        with contextlib.suppress(StorageError):
            if run:
                run.release()
        raise self.retry(countdown=due_s, exc=error) from error
