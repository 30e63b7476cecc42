"""What Cloudflare bills, by its list of prices; pure. Prices are dollars a month."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: A million operations of queues, and those of a month that are free.
OPERATIONS_PRICE, FREE_OPERATIONS = 0.40, 1_000_000
#: A gigabyte kept in R2, and those that are free.
STORED_PRICE, FREE_STORED_BYTES = 0.015, 10_000_000_000
#: The plan that queues are part of.
PLAN_PRICE = 5.0

MONTH_S = 30 * 86_400
#: Seconds that a process must have run before what it did tells of a month.
TELLING_S = 60.0
BILLED = ("writes", "reads", "deletes")


@dataclass(frozen=True)
class Cost:
    """What a month costs that is like the time that was seen, beside the plan.

    `operations` are those of a month.
    """

    operations: float
    operations_price: float
    stored_price: float

    @property
    def whole(self) -> float:
        """All of it, with the plan."""
        return PLAN_PRICE + self.operations_price + self.stored_price


def a_month(counted: Iterable[tuple[Mapping[str, int], float]], stored_bytes: int) -> Cost:
    """The cost by what each process has counted, in so many seconds, and what is kept in R2."""
    operations = sum(
        sum(counts.get(name, 0) for name in BILLED) / seconds * MONTH_S
        for counts, seconds in counted
        if seconds >= TELLING_S
    )
    return Cost(
        operations,
        max(0.0, operations - FREE_OPERATIONS) / 1e6 * OPERATIONS_PRICE,
        max(0, stored_bytes - FREE_STORED_BYTES) / 1e9 * STORED_PRICE,
    )
