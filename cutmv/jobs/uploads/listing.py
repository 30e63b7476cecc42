"""The latest uploads, page by page."""

import sqlalchemy as sa

from cutmv.database import LATEST_S
from cutmv.jobs.model import UnreadableRow, Upload
from cutmv.jobs.rows import to_upload
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import uploads


def latest_uploads(
    store: JobStore, limit: int, before: float | None = None, of: str | None = None
) -> list[Upload]:
    """The latest uploads, newest first; those created before `before`, and of `of`, when given.

    More than `limit` where several were created in the instant of the last: the next page begins
    after that. Those whose rows can't be read are left out. Raises SQLAlchemyError.
    """
    wanted = uploads.c.created_at < (LATEST_S if before is None else before)
    if of is not None:
        wanted = sa.and_(wanted, uploads.c.person_id == of)
    newest = sa.select(uploads).where(wanted).order_by(uploads.c.created_at.desc())
    with store.reading() as db:
        times = [row.created_at for row in db.execute(newest.limit(limit))]
        rows = db.execute(newest.where(uploads.c.created_at >= times[-1])).all() if times else []
    found = []
    for row in rows:
        try:
            found.append(to_upload(row))
        except UnreadableRow:
            continue
    return found
