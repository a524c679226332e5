"""Aligned text for terminals: tables and small number phrases."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from fractions import Fraction


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: bool = False) -> str:
    """Rows under a header, columns padded; text to the left, numbers to the right unless `left`.

    >>> print(table(["format", "max"], [["fp16", "65504"], ["e4m3", "448"]]))
    format    max
    ------  -----
    fp16    65504
    e4m3      448
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [
        not left and bool(rows) and all(_is_number(cell) for cell in column[1:])
        for column in columns
    ]
    lines = [list(header), ["-" * width for width in widths], *map(list, rows)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as an HTML table, for notebooks; everything escaped.

    >>> html_table(["a"], [["<b>"]])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_NUMBER = re.compile(r"|-|[+-]?(inf|nan)|<?[+-]?\d+(\.\d*)?(e[+-]?\d+)?%?")


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def share(part: int, whole: int) -> str:
    """A share in per cent with two decimals; "-" of nothing, "<0.01%" for what would print as 0.

    >>> share(1, 8), share(0, 8), share(1, 10**6), share(0, 0)
    ('12.50%', '0', '<0.01%', '-')
    """
    if whole == 0:
        return "-"
    if part == 0:
        return "0"
    percent = 100 * part / whole
    return f"{percent:.2f}%" if percent >= 0.005 else "<0.01%"


def share_of_one(x: Fraction) -> str:
    """A non-negative fraction of one in per cent, to four significant digits.

    >>> share_of_one(Fraction(1, 2)), share_of_one(Fraction(0))
    ('50%', '0')
    """
    return "0" if x == 0 else f"{float(100 * x):.4g}%"
