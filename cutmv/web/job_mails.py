"""Mail people that a job of theirs has ended, where they asked for it and there is a mail server.

A mail is sent, then noted as sent: a web server that dies in between sends it once more.
"""

import logging
import smtplib
import threading
from contextlib import suppress

from cutmv.database import DATABASE_AWAY
from cutmv.jobs import Job, JobMails, State, UnknownJob
from cutmv.logs import Outage
from cutmv.people import UnknownPerson
from cutmv.services import Services
from cutmv.transports.cloudflare import keep_going
from cutmv.web.auth import deliver, letter

#: Seconds between two looks, and before the next where the mail server is away.
LOOK_S, AWAY_S = 2.0, 60.0
#: Seconds that the thread has to end.
CLOSE_S = 1.0

log = logging.getLogger(__name__)


class JobMailer:
    """Mails what is due, in a thread, until it is closed."""

    def __init__(self, services: Services) -> None:
        self._services, self._mails = services, JobMails(services.store)
        self._outage = Outage(log, "the mail server", "mails of jobs wait")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-mailer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; one that waits for a mail server ends with the process."""
        self._closing.set()
        self._thread.join(CLOSE_S)

    def send_due(self) -> None:
        """Send the mails that are due. Raises OSError, SMTPException, SQLAlchemyError."""
        missed: OSError | smtplib.SMTPException | None = None
        for job in self._mails.due():
            address = self._address(job)
            if address is not None and not self._mails.is_too_late(job):
                try:
                    self._send(job, address)
                except (OSError, smtplib.SMTPException) as error:
                    if not _is_refused(error):
                        missed = error  # it is due again; others may be taken
                        continue
                    log.warning("job %s: its owner's address takes no mail", job.id)
            with suppress(UnknownJob):  # it was deleted meanwhile
                self._mails.done(job.id)
        if missed is not None:
            raise missed

    def _send(self, job: Job, address: str) -> None:
        access = self._services.settings.access
        subject, text = told(job, (access.url or "").rstrip("/"))
        deliver(access.smtp_url or "", letter(access.mail_from, address, subject, text))
        log.info("job %s: its owner was mailed that it has ended", job.id)

    def _address(self, job: Job) -> str | None:
        """That of the owner, who still has an account that is enabled."""
        try:
            owner = self._services.accounts.get(job.person_id or "")
        except UnknownPerson:
            return None
        return owner.email if owner.disabled_at is None else None

    def _run(self) -> None:
        keep_going("job-mailer", self._look, self._closing)

    def _look(self) -> None:
        while not self._closing.is_set():
            pause_s = LOOK_S
            try:
                self.send_due()
                self._outage.ended()
            except (OSError, smtplib.SMTPException) as error:
                self._outage.began(type(error).__name__)
                pause_s = AWAY_S
            except DATABASE_AWAY:  # others tell of it
                pause_s = AWAY_S
            self._closing.wait(pause_s)


def _is_refused(error: Exception) -> bool:
    """Whether a mail server takes a mail neither now nor later."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500


def told(job: Job, url: str) -> tuple[str, str]:
    """The subject and the text of a job's mail."""
    name = "".join(each for each in job.upload.filename if each.isprintable())
    count = len(job.steps)
    done = sum(step.state is State.DONE for step in job.steps)
    how = {State.DONE: "is done", State.FAILED: "has failed in part" if done else "has failed"}
    subject = f"{name} {how.get(job.state, 'was cancelled')}"
    results = f"{done} of {count} results are" if count > 1 else f"{done} of 1 result is"
    return subject, f"{results} made of {name}. See them here:\n\n{url}/#{job.id}\n"
