"""The database's schema is brought to this version's, and back, with what is in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import cutmv.people.tables
import cutmv.progress.accepted  # noqa: F401
from cutmv.database import HEAD, OtherSchema, metadata, migrate, open_engine, schema_of
from cutmv.jobs import JobStore
from tests.support.jobs import add_job


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def differences(engine: sa.Engine) -> list[object]:
    """What would have to change for the database to be as the tables are defined."""
    with engine.connect() as db:
        context = MigrationContext.configure(db, opts={"compare_server_default": True})
        return list(compare_metadata(context, metadata))


def forget_revisions(engine: sa.Engine) -> None:
    """Make the database one of the time before there were revisions."""
    migrate(engine, 1)
    with engine.begin() as db:
        db.exec_driver_sql("drop table alembic_version")


def revision(engine: sa.Engine) -> int:
    with engine.connect() as db:
        return schema_of(db)


def test_the_last_revision_is_what_this_version_works_with() -> None:
    config = Config()
    config.set_main_option("script_location", "cutmv.database:migrations")
    script = ScriptDirectory.from_config(config)

    numbers = [each.revision for each in script.walk_revisions()]

    assert numbers == [str(number) for number in range(HEAD, 0, -1)]


def test_a_new_database_has_the_tables_as_they_are_defined(engine: sa.Engine) -> None:
    assert differences(engine) == []
    assert revision(engine) == HEAD


def test_each_revision_leads_back_and_forth_again(url: str, engine: sa.Engine) -> None:
    store = JobStore(url)
    job = add_job(store)

    for number in (*range(HEAD - 1, 0, -1), *range(2, HEAD + 1)):
        migrate(engine, number)
        assert revision(engine) == number

    assert differences(engine) == []
    assert store.job(job.id) == job
    store.close()


def test_a_database_without_revisions_gets_what_it_lacks(url: str, engine: sa.Engine) -> None:
    store = JobStore(url)
    job = add_job(store, "0-1")
    store.close()
    forget_revisions(engine)
    with engine.begin() as db:
        for name in ("failures", "resends", "queued_at", "spec", "output_made"):
            db.exec_driver_sql(f"alter table steps drop column {name}")
        db.exec_driver_sql("drop index steps_by_claim")
        db.exec_driver_sql("alter table steps drop column claimed_at")
        db.exec_driver_sql("drop table costs")

    store = JobStore(url)

    assert differences(engine) == []
    assert store.job(job.id) == job
    store.close()


@pytest.mark.parametrize("there", ["nothing", "tables"])
def test_of_several_processes_that_start_at_once_one_migrates(url: str, there: str) -> None:
    if there == "tables":
        engine = open_engine(url)
        forget_revisions(engine)
        engine.dispose()
    code = "import sys; from cutmv.database import open_engine; open_engine(sys.argv[1])"
    argv = [sys.executable, "-c", code, url]

    processes = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(3)]

    told = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, told


def test_a_database_of_a_newer_version_is_refused(url: str, engine: sa.Engine) -> None:
    with engine.begin() as db:
        db.exec_driver_sql(f"update alembic_version set version_num = '{HEAD + 1}'")

    with pytest.raises(OtherSchema, match=rf"has revision {HEAD + 1}, .* knows {HEAD} at most"):
        open_engine(url)


def test_a_migration_that_fails_leaves_nothing_of_it(url: str, engine: sa.Engine) -> None:
    migrate(engine, 1)
    with engine.begin() as db:
        db.exec_driver_sql("create table sessions (id text)")  # in the way of revision 2

    with pytest.raises(sa.exc.SQLAlchemyError):
        open_engine(url)

    assert revision(engine) == 1
    assert not sa.inspect(engine).has_table("people")
