"""Checks of what objects that others put into the bucket become: the preset, and the owner."""

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from cutmv.config import Settings
from cutmv.media import presets
from cutmv.ops.finding import Finding, ok, problem
from cutmv.people import Accounts, Person


def incoming(settings: Settings) -> Iterator[Finding]:
    """Whether there is the preset of their jobs, and the account that has them."""
    found = settings.incoming
    if found.preset and found.preset not in presets():
        told = f"there is no preset {found.preset!r}"
        yield problem("CUTMV_INCOMING_PRESET", told, f"use one of {', '.join(presets())}")
    elif found.preset:
        yield ok("CUTMV_INCOMING_PRESET", f"{found.preset}: {presets()[found.preset].title}")
    if not found.owner:
        return
    try:
        person = _account(settings.database_url, found.owner)
    except SQLAlchemyError:
        return  # the check of the database tells of that
    if person is None:
        advice = f"make it: cutmv people invite {found.owner}"
        yield problem("CUTMV_INCOMING_OWNER", f"there is no account of {found.owner}", advice)
    else:
        yield ok("CUTMV_INCOMING_OWNER", f"{person.name} has the uploads")


def _account(database_url: str, address: str) -> Person | None:
    """The account of an address; nothing is made where there is no database yet."""
    url = sa.make_url(database_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        return None
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        return Accounts(engine).find(address)
    finally:
        engine.dispose()
