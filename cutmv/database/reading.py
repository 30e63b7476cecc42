"""What of a row can't be read: a damaged database, an older or a newer version may have written it.

A row stands alone: what is wrong in one must not keep others from being read. So JSON that is none
is a value like others, who makes an object of a row asks here first, and who sums up counts nothing
that can't be.
"""

import json
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa


class Broken:
    """Stands for the value of a JSON column whose text is no JSON."""


#: The value of each such column.
BROKEN: Final = Broken()

#: What no whole number of a row reaches unless it is damaged: a size, a count, a number of days.
LARGEST = 10**15
#: Seconds since 1970 that no time of a row is before or after unless it is damaged.
EARLIEST_S, LATEST_S = -62_135_596_800.0, 1e11


def read_json(text: str) -> Any:
    """The value of a JSON column; BROKEN where its text is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return BROKEN


def unreadable(table: sa.Table, row: sa.Row[Any]) -> list[str]:
    """The columns of `table` whose value in `row` is not of their type, or null against a rule."""
    values = row._mapping
    return [
        name
        for name, nullable, types in _columns(table)
        if not _reads(values[name], nullable=nullable, types=types)
    ]


def readable(row: sa.Row[Any], wrong: Collection[str]) -> dict[str, Any]:
    """The values of a row by their names; None for those that are `wrong`, as `unreadable` told."""
    return {name: None if name in wrong else value for name, value in row._mapping.items()}


def total(sizes: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """The sum of a column of sizes, for a query; one that no size can be counts as none."""
    # Of SQLite's values text and bytes are more than any number.
    return sa.func.sum(sa.case((sizes.between(0, LARGEST), sizes), else_=0))


def _reads(value: object, *, nullable: bool, types: tuple[type, ...]) -> bool:
    if value is None:
        return nullable
    if not isinstance(value, types):
        return False
    if float in types and isinstance(value, float | int):
        return EARLIEST_S <= value < LATEST_S  # nor is it NaN
    return not isinstance(value, int) or abs(value) <= LARGEST


@lru_cache
def _columns(table: sa.Table) -> list[tuple[str, bool, tuple[type, ...]]]:
    return list(_described(table))


def _described(table: sa.Table) -> Iterator[tuple[str, bool, tuple[type, ...]]]:
    for column in table.columns:
        match column.type:
            case sa.JSON():
                types: tuple[type, ...] = (dict, list)
            case sa.Double():
                types = (float, int)
            case other:
                types = (other.python_type,)
        yield column.name, bool(column.nullable), types
