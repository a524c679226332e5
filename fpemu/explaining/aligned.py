"""Binary significands under each other, digit by digit, with a bar behind the last place kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from fpemu import exact

_LONGEST = 12  # equal columns in a row that are still shown; of more than these only the ends
_END = 2
_WORD = {"0": "zeros", "1": "ones", " ": ""}


@dataclass(frozen=True)
class Row:
    """A binary number shown from its leading digit down to ``2**last``, behind a label."""

    label: str
    negative: bool
    magnitude: Fraction
    last: int


def aligned(rows: list[Row], place: int) -> list[str]:
    """The rows as text of equal columns; a bar stands behind the digits of ``2**place``.

    Long stretches of equal columns are cut short and counted.

    >>> for line in aligned([Row("a", False, Fraction(6), 0), Row("b", True, Fraction(1, 4), -2)], 1):
    ...     print(line)
    a  + 11|0
    b  -   |  1
    >>> print(*aligned([Row("s", False, 1 + Fraction(1, 2**40), -40)], -10))
    s  + 10000000000|00 ...25 zeros... 001
    """
    top = max([place, *map(_leading, rows)])
    low = min([place, *(row.last for row in rows)])
    bar = top - place + 1
    lines = [_digits(row, top, low) for row in rows]
    columns = zip(*(f"{line[:bar]}|{line[bar:]}" for line in lines), strict=True)
    pieces = ["".join(piece) for piece in zip(*map(_shortened, _stretches(columns)), strict=True)]
    width = max(len(row.label) for row in rows)
    return [
        f"{row.label:{width}}  {'-' if row.negative else '+'} {piece}".rstrip()
        for row, piece in zip(rows, pieces, strict=True)
    ]


def _leading(row: Row) -> int:
    return exact.floor_log2(row.magnitude) if row.magnitude else row.last


def _digits(row: Row, top: int, low: int) -> str:
    """The digits of a row in the columns from ``2**top`` to ``2**low``, blanks where it has none."""
    whole = row.magnitude / Fraction(2) ** row.last
    return f"{int(whole):b}".rjust(top - row.last + 1) + " " * (row.last - low)


def _stretches(columns: Iterable[tuple[str, ...]]) -> list[tuple[tuple[str, ...], int]]:
    """Equal columns next to each other, counted."""
    return [(column, len(list(run))) for column, run in groupby(columns)]


def _shortened(stretch: tuple[tuple[str, ...], int]) -> list[str]:
    """What each row shows of a stretch."""
    column, count = stretch
    hidden = count - 2 * _END
    if count <= _LONGEST:
        return [digit * count for digit in column]
    words = [f" ...{hidden} {_WORD[digit]}... " if digit != " " else "" for digit in column]
    if not any(words):
        words = [" " for _ in column]
    width = max(map(len, words))
    return [
        digit * _END + word.ljust(width) + digit * _END
        for digit, word in zip(column, words, strict=True)
    ]
