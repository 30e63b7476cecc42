"""Which signed requests were accepted: each once, by whichever process, restarted or not."""

import sqlalchemy as sa

from cutmv.database import metadata, now
from cutmv.jobs import JobStore
from cutmv.transports.cloudflare.edge import signature

#: Seconds for which an id is kept. The clocks of all ends may differ by the tolerance, either way.
KEPT_S = 3 * signature.TOLERANCE

#: The ids of signed requests that were accepted, each until nobody would accept it any more.
accepted_requests = sa.Table(
    "accepted_requests",
    metadata,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("expires_at", sa.Double, nullable=False, index=True),
)


def accept(store: JobStore, request_id: str) -> bool:
    """Note that a verified request is used; False when it was before. Raises SQLAlchemyError."""
    try:
        with store.engine.begin() as db:
            gone = accepted_requests.c.expires_at < now()
            db.execute(accepted_requests.delete().where(gone))
            row = {"id": request_id, "expires_at": now() + KEPT_S}
            db.execute(accepted_requests.insert().values(row))
    except sa.exc.IntegrityError:
        return False
    return True
