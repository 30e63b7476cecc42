"""Who may use which route, who makes this request, and which uploads and jobs they may know of.

`cutmv.web.auth` sets the person before a request is handled. A route is for people who have signed
in unless it is named here; what belongs to others is not there for them (`mine`).
"""

from dataclasses import dataclass
from typing import cast

from flask import Request, g

from cutmv.jobs import Job, JobStore, Upload, latest_uploads
from cutmv.people import Person
from cutmv.web.state import web

#: The routes that anybody may use, by endpoint: of what belongs to nobody, or signed, or for those
#: who have yet to sign in; or by the secret of a share, which shows what it is of.
OPEN = {
    "static",
    "page.asset",
    "api_page.file",
    "health.healthz",
    "openapi.document",
    "queue.progress",
    "sign_in.show",
    "sign_in.create",
    "sign_in.code",
    "sign_in.mail",
    "sign_in.link",
    "sign_in.use_link",
    "shared.show",
    "shared.output",
    "shared.archive",
}
#: The endpoints, and the blueprints, that are for administrators.
ADMINISTRATORS = {"health.metrics", "operators", "people", "people_page"}
#: The blueprints that are there only where people sign in.
OF_ACCOUNTS = {"sign_in", "account", "second_factor", "keys", "people", "people_page"}
#: Endpoints and blueprints for which a key is none: they change how somebody signs in, or more.
OF_SESSIONS = {"account", "second_factor", "people_page", "keys.create"}
#: What is there for who must have a second factor, and has none yet.
BEFORE_SECOND_FACTOR = {"second_factor", "account.show", "account.password", "sign_in.end"}
#: The blueprints of pages for people, who are sent to the page to sign in.
PAGES = {
    "page",
    "api_page",
    "sign_in",
    "account",
    "second_factor",
    "operators",
    "people_page",
    "shared",
    "webhooks",
}


@dataclass(frozen=True)
class Owned:
    """The part of a job store that belongs to the person `of`; all of it, for None.

    What belongs to others is not there, by the same errors as what does not exist.
    """

    store: JobStore
    of: str | None

    def upload(self, upload_id: str) -> Upload:
        """The upload of this id. Raises UnknownUpload."""
        return self.store.upload(upload_id, self.of)

    def uploads(self, limit: int, before: float | None = None) -> list[Upload]:
        """The latest uploads, newest first, as `latest_uploads`."""
        return latest_uploads(self.store, limit, before, self.of)

    def job(self, job_id: str) -> Job:
        """The job of this id with its steps. Raises UnknownJob."""
        return self.store.job(job_id, self.of)

    def jobs(self, limit: int, before: float | None = None) -> list[Job]:
        """The latest jobs, newest first, as `JobStore.jobs`."""
        return self.store.jobs(limit, before, self.of)


def person() -> Person:
    """Who makes this request; not for open routes."""
    return cast(Person, g.person)


def mine() -> Owned:
    """The uploads and jobs that this person may know of."""
    return Owned(web().services.store, person().sees)


def sessions_alone(request: Request) -> bool:
    """Whether a request is for who has signed in, and no key makes it."""
    return bool({request.endpoint, request.blueprint} & OF_SESSIONS)


def lacks_second_factor(request: Request, whose: Person) -> bool:
    """Whether a request is for those who have a second factor, and its maker must and does not."""
    access = web().services.settings.access
    lacks = access.needs_second_factor(is_admin=whose.is_admin) and not whose.has_second_factor
    return lacks and not {request.endpoint, request.blueprint} & BEFORE_SECOND_FACTOR


def administrators_alone(request: Request) -> bool:
    """Whether a request is for administrators."""
    return bool({request.endpoint, request.blueprint} & ADMINISTRATORS)
