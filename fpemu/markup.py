"""HTML for notebooks: escaped text, tables, and the fields of a code in three colours.

Everything is inline, because a notebook's style sheet is not ours. Each field has its own
background and white letters, which read alike on a light and on a dark page.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from fpemu.formats import Format

# Backgrounds that white text stands out from (contrast above 5) and that the colour-blind tell
# apart: purple, teal, rust.
COLOURS = {"sign": "#6d28d9", "exponent": "#0f766e", "fraction": "#9a3412"}
_CELL = "text-align:left;padding:2px 10px;vertical-align:top;white-space:pre"
_MONO = "font-family:monospace"


class Bits(str):
    """The split bits of a code, which know their fields.

    >>> from fpemu.formats import E8M0, FP16
    >>> Bits.of("0 01011 1001100110", FP16).fields, Bits.of("01111111", E8M0).fields
    (('sign', 'exponent', 'fraction'), ('exponent',))
    """

    fields: tuple[str, ...]

    def __new__(cls, split: str, fields: tuple[str, ...]) -> Bits:
        bits = super().__new__(cls, split)
        bits.fields = fields
        return bits

    @classmethod
    def of(cls, split: str, f: Format) -> Bits:
        """Bits with the fields that `f` has."""
        there = (f.signed, f.exponent_bits, f.fraction_bits)
        return cls(split, tuple(name for name, has in zip(COLOURS, there, strict=True) if has))

    def __getnewargs__(self) -> tuple[str, tuple[str, ...]]:  # type: ignore[override]
        return str(self), self.fields


Part = str | Bits  # text, or bits to be coloured
Line = Sequence[Part]


class Shown(str):
    """Text that notebooks show as a table, or without one in a fixed-width font.

    >>> Shown("1 < 2")._repr_html_()
    '<pre>1 &lt; 2</pre>'
    """

    page: str

    def __new__(cls, text: str, page: str = "") -> Shown:
        shown = super().__new__(cls, text)
        shown.page = page
        return shown

    def _repr_html_(self) -> str:
        return self.page or f"<pre>{html.escape(self)}</pre>"

    def __repr__(self) -> str:
        return str(self)


def inline(parts: Line) -> str:
    """The parts of one line as HTML, bits in colours.

    >>> inline(["a < b"])
    'a &lt; b'
    """
    return "".join(
        _bits(part) if isinstance(part, Bits) else html.escape(str(part)) for part in parts
    )


def _bits(bits: Bits) -> str:
    spans = (
        f'<span title="{name}" style="{_MONO};background:{COLOURS[name]};color:#ffffff;'
        f'padding:0 3px">{html.escape(field)}</span>'
        for name, field in zip(bits.fields, bits.split(), strict=True)
    )
    return "".join(spans)


def table(header: Sequence[str], rows: Iterable[Sequence[Sequence[Line]]]) -> str:
    """A table whose cells are lists of lines; an empty `header` is left out.

    >>> table([], [[[["a"]], [["1"], ["2"]]]]).count("<div>")
    3
    """
    head = "".join(f'<th style="{_CELL}">{html.escape(name)}</th>' for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    head = f"<thead><tr>{head}</tr></thead>" if header else ""
    return f'<table style="border-collapse:collapse">{head}<tbody>{body}</tbody></table>'


def _cell(lines: Sequence[Line]) -> str:
    divs = "".join(f"<div>{inline(line)}</div>" for line in lines)
    return f'<td style="{_CELL};{_MONO}">{divs}</td>'
