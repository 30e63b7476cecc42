"""What people get of jobs: all results in one ZIP (`archives`), links for others (`shares`).

`live` is what is looked at again and again for those who look on, `mails` who wants to be mailed.

The package may import what keeps jobs.
"""

from cutmv.jobs.results.archives import JobArchive, archive_of
from cutmv.jobs.results.live import LiveJobs, Mark
from cutmv.jobs.results.mails import JobMails
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
    "JobMails",
    "LiveJobs",
    "Mark",
    "Share",
    "Shared",
    "Shares",
    "TooManyShares",
    "UnknownShare",
    "archive_of",
]
