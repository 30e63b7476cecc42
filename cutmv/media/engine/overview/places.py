"""Places in a whole, few at first and then those between them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction


def levels(first: int, most: int) -> Iterator[list[Fraction]]:
    """Yield places from 0 to before 1: `first` of them, then those in their middles, up to `most`.

    Both are powers of two.

    >>> [[str(each) for each in level] for level in levels(2, 4)]
    [['0', '1/2'], ['1/4', '3/4']]
    """
    yield [Fraction(each, first) for each in range(first)]
    count = 2 * first
    while count <= most:
        yield [Fraction(each, count) for each in range(1, count, 2)]
        count *= 2
