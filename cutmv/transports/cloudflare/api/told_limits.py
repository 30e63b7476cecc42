"""What Cloudflare's headers say is left of its limits of calls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Part of a limit's calls, one in so many, that is left to others at most.
RESERVED_OF_QUOTA = 10

#: An element of a list, and its parameters; quoted text may hold commas and semicolons.
_ELEMENT = re.compile(r'(?:"[^"]*"|[^,"])+')
_PART = re.compile(r'(?:"[^"]*"|[^;"])+')

#: Cloudflare sends no numbers of more digits.
_NUMBER = re.compile(r'"?(\d{1,9}(?:\.\d{1,9})?)"?')


@dataclass(slots=True)
class _Limit:
    """Calls left until the limit is renewed, of which some are left to others; all, if known."""

    left: int
    renewed_at: float
    reserve: int
    quota: int | None


class ToldLimits:
    """The limits that the headers ``Ratelimit`` and ``Ratelimit-Policy`` tell; the owner locks it.

    Several may be told at once: all are obeyed. What makes no sense is passed over. `reserve` calls
    of a limit are left to others, or a tenth of it where that is less.
    """

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve
        self._limits: dict[str, _Limit] = {}

    def learn(self, headers: Mapping[str, str], now: float) -> None:
        """Note what a response's headers say."""
        quotas = {
            name.partition(";")[0]: numbers["q"]
            for name, numbers in _read(headers.get("ratelimit-policy", ""), "q")
        }
        told = list(_read(headers.get("ratelimit", ""), "r", "t"))
        for name, numbers in told:
            quota = quotas.get(name.partition(";")[0])
            reserve = self._reserve if len(told) == 1 else 0
            if quota is not None:
                reserve = min(self._reserve, int(quota) // RESERVED_OF_QUOTA)
            self._limits[name] = _Limit(
                int(numbers["r"]),
                now + numbers["t"],
                reserve,
                None if quota is None else int(quota),
            )

    def spend(self, count: int) -> None:
        """Note that calls were made of which no header has told yet."""
        for limit in self._limits.values():
            limit.left -= count

    def wait(self, now: float, count: int) -> float:
        """Return the seconds until `count` calls may go by every limit; 0 for at once."""
        self._forget(now)
        waits = (
            limit.renewed_at - now
            for limit in self._limits.values()
            if limit.left - count < limit.reserve
        )
        return max(waits, default=0.0)

    def least_part(self, now: float, usual: int) -> float:
        """Return which part of its calls the tightest limit has left; 1 where no limit is told.

        `usual` is how many calls a limit has that does not say it.
        """
        self._forget(now)
        parts = (limit.left / max(1, limit.quota or usual) for limit in self._limits.values())
        return min(parts, default=1.0)

    def _forget(self, now: float) -> None:
        for name in [name for name, limit in self._limits.items() if now >= limit.renewed_at]:
            del self._limits[name]


def _read(header: str, *wanted: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the name, with other parameters, and the wanted numbers of each element that has them.

    ``"default";r=12;t=30;pk=:YQ==:, "burst";r=1;t=1``
    """
    for element in _ELEMENT.findall(header):
        name, numbers = [], {}
        for part in _PART.findall(element):
            key, _, value = part.strip().partition("=")
            number = _NUMBER.fullmatch(value.strip())
            if key.strip().lower() in wanted and number:
                numbers[key.strip().lower()] = float(number[1])
            else:
                name.append(part.strip().lower())
        if len(numbers) == len(wanted):
            yield ";".join(name), numbers
