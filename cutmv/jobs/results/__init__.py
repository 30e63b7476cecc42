"""What a job has made, for people: all of it in one ZIP (`archives`), and for others (`shares`).

The package may import what keeps jobs.
"""

from cutmv.jobs.results.archives import JobArchive, archive_of
from cutmv.jobs.results.shares import (
    MAX_SHARE_DAYS,
    MAX_SHARES,
    SHARE_DAYS,
    Share,
    Shared,
    Shares,
    TooManyShares,
    UnknownShare,
)

__all__ = [
    "MAX_SHARES",
    "MAX_SHARE_DAYS",
    "SHARE_DAYS",
    "JobArchive",
    "Share",
    "Shared",
    "Shares",
    "TooManyShares",
    "UnknownShare",
    "archive_of",
]
