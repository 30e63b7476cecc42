"""Mails of jobs that have ended, by a real mail server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from cutmv.config import Settings
from cutmv.jobs import Job, JobMails, State, Step
from cutmv.services import Services
from cutmv.web.job_mails import JobMailer, told
from tests.support.jobs import add_job
from tests.support.mail import MailServer, mail_server


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def services(tmp_path: Path, mails: MailServer) -> Iterator[Services]:
    env = {
        "CUTMV_DATA_DIR": str(tmp_path),
        "CUTMV_SMTP_URL": mails.url,
        "CUTMV_URL": "https://cutmv.example.com/",
    }
    services = Services.open(Settings.from_env(env))
    yield services
    services.store.close()


def job_of(services: Services, name: str) -> Job:
    """A job of somebody's, of which a mail is wanted."""
    person = services.accounts.add(f"{name}@example.com")
    job = add_job(services.store, "0-1", "1-2", person_id=str(person.id))
    JobMails(services.store).want(job.id, wanted=True)
    return job


def test_a_job_is_mailed_once_when_it_has_ended(services: Services, mails: MailServer) -> None:
    job, mailer = job_of(services, "ann"), JobMailer(services)
    mailer.send_due()
    assert mails.mails == []
    assert services.store.job(job.id).mail_wanted
    services.store.cancel(job.id)

    mailer.send_due()
    mailer.send_due()

    [mail] = mails.mails
    assert (mail["To"], mail["Subject"]) == ("ann@example.com", "song.mp4 was cancelled")
    assert f"https://cutmv.example.com/#{job.id}" in mail.get_payload()
    assert not services.store.job(job.id).mail_wanted


def test_nobody_is_mailed_who_does_not_want_it_or_may_not_come_in(
    services: Services, mails: MailServer
) -> None:
    unwanted, disabled = job_of(services, "ann"), job_of(services, "bob")
    JobMails(services.store).want(unwanted.id, wanted=False)
    services.accounts.disable(str(disabled.person_id))
    for job in (unwanted, disabled):
        services.store.cancel(job.id)

    JobMailer(services).send_due()

    assert mails.mails == []
    assert JobMails(services.store).due() == []


def test_a_mail_waits_for_the_mail_server_for_a_day(services: Services, mails: MailServer) -> None:
    job = job_of(services, "ann")
    services.store.cancel(job.id)
    access = replace(services.settings.access, smtp_url="smtp://127.0.0.1:1")
    away = JobMailer(replace(services, settings=replace(services.settings, access=access)))
    with pytest.raises(OSError, match="refused"):
        away.send_due()
    assert [each.id for each in JobMails(services.store).due()] == [job.id]

    with services.store.engine.begin() as db:
        db.execute(sa.text("update jobs set finished_at = finished_at - 90000"))
    JobMailer(services).send_due()

    assert mails.mails == []
    assert JobMails(services.store).due() == []


def test_what_a_mail_says_follows_from_the_job(services: Services) -> None:
    job = services.store.job(job_of(services, "ann").id)
    done, failed = (replace(job.steps[0], state=each) for each in (State.DONE, State.FAILED))
    upload = replace(job.upload, filename="a\nb.mp4")

    def subject(*steps: Step) -> str:
        states = [step.state for step in steps]
        return told(replace(job, steps=steps, state=states[-1], upload=upload), "https://x")[0]

    assert subject(done, done) == "ab.mp4 is done"
    assert subject(done, failed) == "ab.mp4 has failed in part"
    assert subject(failed) == "ab.mp4 has failed"
