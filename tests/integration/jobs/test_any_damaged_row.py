"""Whatever stands in whichever column of a row, nobody else's page, list or message fails by it."""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cutmv.config import Settings
from cutmv.database import metadata
from cutmv.dispatch.janitor import Janitor
from cutmv.jobs import (
    PROXY,
    Backlog,
    Claimed,
    Claims,
    Deliveries,
    Derivatives,
    Hooks,
    JobMails,
    Output,
    Shares,
    new_id,
)
from cutmv.jobs import tables as of_jobs
from cutmv.people import Person
from cutmv.progress import Live, ProgressFeed, View
from cutmv.progress.audience import Ending
from cutmv.services import Services
from cutmv.web import create_app, web_of
from cutmv.web.hooks import HookSender
from cutmv.web.job_mails import JobMailer
from tests.support.jobs import add_job
from tests.support.mail import MailServer, mail_server

#: What SQLite puts into any column, whatever its type.
#: Owners whose rows are damaged at once, each in one column, and rows of each that may be.
OWNERS, ROWS = 11, 4
BAD = ("nonsense", None, 2**63 - 1, float("inf"), b"\xff\0")
JOBS = "/api/jobs?limit=100"
PAGES = ("/", "/account", "/api/account", "/api/keys", "/webhooks", "/api/webhooks")
PAGES += ("/api/multipart-uploads",)
PAGES_OF_OPERATORS = ("/people", "/api/people", "/operators/parts", "/metrics")


class Having:
    """Somebody with a row of each table; of jobs, steps and deliveries in several states."""

    def __init__(self, services: Services, name: str, *, is_admin: bool = False) -> None:
        store, engine = services.store, services.store.engine
        password = "correct horse battery" if is_admin else None
        self.person: Person = services.accounts.add(
            f"{name}@example.com", password=password, is_admin=is_admin
        )
        self.id = whose = str(self.person.id)
        self.session = services.sessions.begin(self.person)
        services.api_keys.add(whose, "a key")
        self.job = add_job(store, *(f"{at}-{at + 1}" for at in range(3 * ROWS)), person_id=whose)
        self.ended = add_job(store, "0-1", person_id=whose)
        for step in (*self.job.steps[:ROWS], *self.ended.steps):
            claims = Claims(store, "worker/1")
            assert isinstance(claims.claim(step.id, "redis"), Claimed)
            claims.finish(step, Output(f"jobs/{step.job_id}/{step.id}", 1_000, "video/mp4"))
        for step in self.job.steps[ROWS : 2 * ROWS]:
            Claims(store, "worker/2", lease_s=900.0).claim(step.id, "redis")
        JobMails(store).want(self.ended.id, wanted=True)
        _, self.token = Shares(store).add(self.ended, None, 7)
        self.hook, _ = Hooks(engine).add(whose, "https://127.0.0.1/")
        self.delivery = Deliveries(engine).add_test(self.hook)
        self.upload = self.ended.upload
        Derivatives(store, services.storage).ask(PROXY, self.upload)
        video = {
            "filename": "a.mp4",
            "size": 9,
            "content_type": "video/mp4",
            "key": f"uploads/{whose}/x",
        }
        rows: dict[str, dict[str, Any]] = {
            "multipart_uploads": {**video, "storage_id": "s", "part_bytes": 5, "created_at": 1e10},
            "reservations": {"bytes": 5, "expires_at": 1e10},
            "deletions": {"what": {"prefixes": []}, "deleted_at": time.time()},
        }
        told = {"hook_id": self.hook.id, "job_id": self.ended.id, "event": "job.completed"}
        told |= {"happened_at": 1.0, "attempts": 1, "delivered_at": time.time()}
        with engine.begin() as db:
            # A janitor leaves those that are young to the requests that made them.
            created_at = of_jobs.jobs.c.created_at - 1_000.0
            db.execute(of_jobs.jobs.update().values(created_at=created_at))
            for table, row in rows.items():
                values = {"id": new_id(), "person_id": whose, **row}
                db.execute(metadata.tables[table].insert().values(values))
            db.execute(of_jobs.hook_deliveries.insert().values(id=new_id(), **told))
            db.execute(of_jobs.costs.insert().values(kind="a", expected_s=1.0, seconds=2.0))
            codes = metadata.tables["recovery_codes"]
            db.execute(codes.insert().values(hash=new_id(), person_id=whose))
            accepted = metadata.tables["accepted_requests"]
            db.execute(accepted.insert().values(id=new_id(), expires_at=1e10))


class Onlooker:
    """Keeps what a live view tells."""

    def __init__(self) -> None:
        self.told = ""

    def tell(self, text: str) -> None:
        self.told += text

    def end(self, why: Ending) -> None:
        self.told += why.value


class Deployment:
    """A deployment where owners' rows are damaged, and all that others have of it."""

    def __init__(self, folder: Path, mails: MailServer) -> None:
        env = {"CUTMV_DATA_DIR": str(folder), "CUTMV_MODE": "eager", "CUTMV_SIGN_IN": "always"}
        env |= {"CUTMV_URL": "http://localhost", "CUTMV_SMTP_URL": mails.url}
        env |= {"CUTMV_MAX_REQUESTS": "1000000"}
        self.mails = mails
        self.services = services = Services.open(Settings.from_env(env))
        do_not_wait_for_disks(services.store.engine)
        self.app = create_app(services)
        web_of(self.app).dispatcher.close()  # nothing that is sent runs
        self.raw = sqlite3.connect(folder / "cutmv.db", isolation_level=None)
        self.raw.execute("pragma foreign_keys = off")
        self.raw.execute("pragma synchronous = off")
        #: The ids of each owner's rows, by the table.
        self.owned = [self._rows_of(f"owner-{number}") for number in range(OWNERS)]
        self.other = Having(services, "other")
        self.boss = Having(services, "boss", is_admin=True)
        self.janitor = Janitor(web_of(self.app).dispatcher)
        self.saved = {name: self._all(name) for name in metadata.tables}
        self.checks = dict(self._checks())
        self.reads = {name: self._read_by(name) for name in self.checks}

    def close(self) -> None:
        web_of(self.app).close()
        self.services.store.close()
        self.raw.close()

    def worse(self, table: str, columns: Sequence[str], value: object) -> list[str]:
        """What fails for others while this stands in each column of a row of its own."""
        for number, column in enumerate(columns):
            ids = sorted(self.owned[number % OWNERS][table])
            change = f"update {table} set {column} = ? where rowid = ?"
            rows = ids if len(ids) < ROWS else ids[number // OWNERS :: ROWS]
            for times, row in enumerate(rows, 1):
                its = value * times if isinstance(value, str | bytes) else value
                # One may refuse to be null, or to be as another is.
                with suppress(sqlite3.IntegrityError):
                    self.raw.execute(change, [its, row])
        try:
            failed = [self._failure(name) for name, read in self.reads.items() if table in read]
        finally:
            self.restore()
        found = [f"{table}.{', '.join(columns)} = {value!r}: {each}" for each in failed if each]
        if not found or len(columns) == 1:
            return found
        return [each for column in columns for each in self.worse(table, [column], value)] or found

    def _rows_of(self, name: str) -> dict[str, set[int]]:
        before = self._row_ids()
        Having(self.services, name)
        return {table: ids - before[table] for table, ids in self._row_ids().items()}

    def restore(self) -> None:
        self.raw.execute("begin immediate")
        for name, rows in self.saved.items():
            self.raw.execute(f"delete from {name}")
            marks = ", ".join("?" * len(metadata.tables[name].columns))
            self.raw.executemany(f"insert into {name} values ({marks})", rows)
        self.raw.execute("commit")

    def _failure(self, name: str) -> str | None:
        try:
            self.checks[name]()
        except Exception as error:
            return f"{name}: {type(error).__name__} {error}"
        return None

    def _read_by(self, name: str) -> set[str]:
        """The tables of which a check asks anything, while all is well."""
        read: set[str] = set()

        def note(_db: object, _cursor: object, statement: str, *_: object) -> None:
            read.update(set(re.findall(r"\w+", statement)) & metadata.tables.keys())

        sa.event.listen(self.services.store.engine, "before_cursor_execute", note)
        try:
            assert self._failure(name) is None, self._failure(name)
        finally:
            sa.event.remove(self.services.store.engine, "before_cursor_execute", note)
            self.restore()
        return read

    def _checks(self) -> Iterator[tuple[str, Callable[[], None]]]:
        own = (*PAGES, f"/api/jobs/{self.other.job.id}", f"/shared/{self.other.token}")
        for who, pages in ((self.other, own), (self.boss, PAGES_OF_OPERATORS)):
            for page in (JOBS, "/api/uploads", *pages):
                yield f"{who.person.name} {page}", self._page(who, page)
        yield "live", self._live
        yield "mails", self._mail
        yield "webhooks", self._hooks
        yield "turns", self._turns
        yield "derivatives", self._derivatives
        yield "resume", self._resume
        yield "sweep", self._sweep

    def _page(self, who: Having, page: str) -> Callable[[], None]:
        client, monitor = self.app.test_client(), web_of(self.app).monitor
        client.set_cookie("cutmv", who.session)

        def show() -> None:
            monitor.jobs.outdate()
            answer = client.get(page)
            assert answer.status_code == 200, answer.text
            if page == JOBS:
                shown = {each["id"] for each in answer.json["jobs"]}
                assert shown >= {who.job.id, self.other.job.id}
            if page in PAGES_OF_OPERATORS:
                assert monitor.jobs.seen.problem is None, monitor.jobs.seen.problem

        return show

    def _live(self) -> None:
        live = Live(self.services.store, ProgressFeed())
        for who, of in ((self.other, self.other.id), (self.boss, None)):
            onlooker = Onlooker()
            live.watch(onlooker, View(of, who.job.id))
            assert self.other.ended.id in onlooker.told
        live.look()

    def _mail(self) -> None:
        self.mails.mails.clear()
        JobMailer(self.services).send_due()
        assert "other@example.com" in {mail["To"] for mail in self.mails.mails}

    def _hooks(self) -> None:
        with no_trouble("hook"):
            HookSender(self.services, lambda: False).look()
            for thread in threading.enumerate():
                if thread.name == "hook-request":
                    thread.join()
        sent = {
            each.id: each for each in Deliveries(self.services.store.engine).of(self.other.hook)
        }
        assert sent[self.other.delivery].answer is not None

    def _turns(self) -> None:
        backlog = Backlog(self.services.store)
        for found in (backlog.waiting(0.0), backlog.to_send(0.0)):
            assert self.other.job.steps[-1].id in {step.id for step in found}

    def _derivatives(self) -> None:
        with self.services.store.engine.begin() as db:
            db.execute(of_jobs.derivatives.update().values(look_at=1.0))
        found = Derivatives(self.services.store, self.services.storage).next()
        assert self.other.upload.id in {upload.id for _, upload in found}

    def _resume(self) -> None:
        with no_trouble("janitor"):
            self.janitor.resume()

    def _sweep(self) -> None:
        with no_trouble("janitor"):
            self.janitor.sweep()
        assert self.services.store.job(self.other.ended.id).steps[0].output is not None

    def _row_ids(self) -> dict[str, set[int]]:
        return {
            name: {row[0] for row in self.raw.execute(f"select rowid from {name}")}
            for name in metadata.tables
        }

    def _all(self, name: str) -> list[Any]:
        return self.raw.execute(f"select * from {name}").fetchall()


def do_not_wait_for_disks(engine: sa.Engine) -> None:
    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("pragma synchronous = off")

    sa.event.listen(engine, "connect", hurry)
    engine.dispose()


@contextmanager
def no_trouble(work: str) -> Iterator[None]:
    """Raise AssertionError where the log has an error of this work that nobody expected."""
    told: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert not [each for each in told if each.startswith(work)], told


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with mail_server() as mails:
        deployment = Deployment(tmp_path_factory.mktemp("data"), mails)
        yield deployment
        deployment.close()


@pytest.mark.slow
@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_a_damaged_row_stops_nobody_else(deployment: Deployment, table: str) -> None:
    columns = [column.name for column in metadata.tables[table].columns]

    worse = [each for bad in BAD for each in deployment.worse(table, columns, bad)]

    assert worse == []
