"""What of a row can't be read: a damaged database, an older or a newer version may have written it.

A row stands alone: what is wrong in one must not keep others from being read. So JSON that is none
is a value like others, and who makes an object of a row asks here first.
"""

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa


class Broken:
    """Stands for the value of a JSON column whose text is no JSON."""


#: The value of each such column.
BROKEN: Final = Broken()


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


def _reads(value: object, *, nullable: bool, types: tuple[type, ...]) -> bool:
    if value is None:
        return nullable
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, types)


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
