"""The SQL database that all processes of a deployment share: its engine, clock and schema.

What is kept in it belongs to others: they define their tables on `metadata`, in modules of their
own. `migrating` brings a database to the schema of this version, by the revisions in `migrations`,
when `engine` opens it. `troubles` tells which errors pass by themselves, `reading` what of a row
can't be read. The package imports nothing else of CUTMV.
"""

from cutmv.database.clock import now
from cutmv.database.engine import metadata, open_engine
from cutmv.database.migrating import HEAD, OtherSchema, migrate, schema_of
from cutmv.database.reading import LATEST_S, readable, total, unreadable
from cutmv.database.troubles import DATABASE_AWAY, cause, database_full, passes

__all__ = [
    "DATABASE_AWAY",
    "HEAD",
    "LATEST_S",
    "OtherSchema",
    "cause",
    "database_full",
    "metadata",
    "migrate",
    "now",
    "open_engine",
    "passes",
    "readable",
    "schema_of",
    "total",
    "unreadable",
]
