"""One call of the API, and a result that is a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from cutmv.emulator import errors
from cutmv.emulator.beliefs import Beliefs, Switches
from cutmv.emulator.faults import Faults, Verdict
from cutmv.emulator.model import Json
from cutmv.emulator.stats import Stats

#: Queues of one page, unless the caller asks for fewer or more.
PER_PAGE, MOST_PER_PAGE = 100, 1000

_QUEUE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Call:
    """One request that has been read and admitted."""

    path: Mapping[str, str]
    query: QueryParams
    body: Mapping[str, Json]
    verdict: Verdict
    faults: Faults
    stats: Stats
    switches: Switches

    @property
    def beliefs(self) -> Beliefs:
        """What the API does otherwise than usual."""
        return self.switches.now

    @property
    def queue_id(self) -> str:
        """The path's queue id. Error: 10107."""
        queue_id = self.path["queue_id"]
        if self.beliefs.handles == "odd":
            queue_id = queue_id.replace("-", "").lower()
        if not _QUEUE_ID.fullmatch(queue_id):
            raise errors.malformed_queue_id(queue_id)
        return queue_id


@dataclass(frozen=True)
class Page:
    """A result that is a page of a longer list."""

    items: Sequence[Json]
    number: int
    per_page: int
    total: int
    total_pages: str = "told"

    def info(self) -> Json:
        """Return the response's `result_info`."""
        info = {
            "count": len(self.items),
            "page": self.number,
            "per_page": self.per_page,
            "total_count": self.total,
            "total_pages": -(-self.total // self.per_page),
        }
        match self.total_pages:
            case "one":
                info["total_pages"] = 1
            case "endless":
                info["total_pages"] = self.number + 1
            case "missing":
                del info["total_pages"], info["total_count"]
        return info
