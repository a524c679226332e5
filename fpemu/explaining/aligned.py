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
    """A binary number shown from its leading digit down to ``2**last``, behind a label, with a bar behind
    the digit of ``2**place`` (None: where `aligned` has it)."""

    label: str
    negative: bool
    magnitude: Fraction
    last: int
    place: int | None = None


def aligned(rows: list[Row], place: int | None = None) -> list[str]:
    """The rows as text of equal columns; a bar stands behind the digits of ``2**place``, or of each row's
    own.

    Long stretches of equal columns are cut short and counted.

    >>> for line in aligned([Row("a", False, Fraction(6), 0), Row("b", True, Fraction(1, 4), -2)], 1):
    ...     print(line)
    a  + 11|0
    b  -   |  1
    >>> print(*aligned([Row("s", False, 1 + Fraction(1, 2**40), -40)], -10))
    s  + 10000000000|00 ...25 zeros... 001
    >>> print(*aligned([Row("a", False, Fraction(7), 0, 1), Row("b", False, Fraction(7), 0, 0)]), sep="\\n")
    a  + 11|1
    b  + 11 1|
    """
    bars = {place if row.place is None else row.place for row in rows} - {None}
    places = sorted((bar for bar in bars if bar is not None), reverse=True)
    top = max([*places, *map(_leading, rows)])
    low = min([*places, *(row.last for row in rows)])
    lines = [_barred(row, top, low, places, place) for row in rows]
    columns = zip(*lines, strict=True)
    pieces = ["".join(piece) for piece in zip(*map(_shortened, _stretches(columns)), strict=True)]
    width = max(len(row.label) for row in rows)
    return [
        f"{row.label:{width}}  {'-' if row.negative else '+'} {piece}".rstrip()
        for row, piece in zip(rows, pieces, strict=True)
    ]


def _barred(row: Row, top: int, low: int, places: list[int], place: int | None) -> str:
    """The digits of a row with a column for every bar, in which only its own is drawn."""
    digits, own = _digits(row, top, low), place if row.place is None else row.place
    for count, at in enumerate(places):
        cut = top - at + 1 + count
        digits = f"{digits[:cut]}{'|' if at == own else ' '}{digits[cut:]}"
    return digits


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
