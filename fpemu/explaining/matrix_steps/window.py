"""A picture of a step: bit positions as columns, an addend in every row, a bar at the window's edge. Plain SVG.

It brings its own light ground, so that it reads alike in light and in dark notebooks.
"""

from __future__ import annotations

import html
import zlib
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from fpemu import exact
from fpemu.explaining.matrix_steps.sums import Addend, Sum
from fpemu.explaining.numbers import lowest_bit
from fpemu.reals import is_finite, is_negative, written

# White letters stand out from these; cut digits are dark on hatched ground.
COLOURS = {"product": "#1d4ed8", "accumulator": "#9a3412", "sum": "#475569", "result": "#0f766e"}
_INK, _PALE, _BAR = "#1f2937", "#6b7280", "#b91c1c"
_CELL, _ROW, _GAP, _LETTER = 11, 18, 34, 7.0  # pixels; a letter of the font at 11 pixels
_LONGEST = 10  # equal columns that are all drawn; of more only the ends
_END = 2


@dataclass(frozen=True)
class Line:
    """A row of the picture: digits of a magnitude down to ``2**last``, kept down to ``2**place``."""

    label: str
    kind: str
    value: Fraction
    last: int
    place: int | None
    note: str = ""

    def digit(self, e: int) -> str:
        """The digit of 2**e, "" beyond the ends."""
        if not self.value or e < self.last or e > exact.floor_log2(abs(self.value)):
            return ""
        return str(int(abs(self.value) / Fraction(2) ** e) & 1)

    def kept(self, e: int) -> bool:
        """Whether the digit of 2**e is kept."""
        return self.place is None or e >= self.place


def picture(title: str, sums: list[Sum]) -> str:
    """The sums of a step under each other as one SVG, "" if there is none."""
    if not sums:
        return ""
    panels, y, width = [], 40.0, 470.0
    for s in sums:
        body, wide, high = _panel(s, _lines(s), y)
        panels.append(body)
        y, width = y + high, max(width, wide)
    width, height = max(width, _LETTER * len(title) + 24), y + 28
    name = f"w{zlib.crc32(''.join(panels).encode()):08x}"
    told = " ".join(_said(s) for s in sums)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="{name}t {name}d" '
        f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="11">'
        f'<title id="{name}t">{html.escape(title)}</title>'
        f'<desc id="{name}d">{html.escape(told)}</desc>'
        f'<defs><pattern id="{name}h" width="4" height="4" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="4" height="4" fill="#f3f4f6"/>'
        f'<rect width="1.2" height="4" fill="#c4c9d1"/></pattern></defs>'
        f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="6" '
        f'fill="#ffffff" stroke="#d1d5db"/>'
        f"{_text(12, 22, title, weight='bold')}"
        f"{''.join(panels).replace('HATCH', f'url(#{name}h)')}"
        f"{_legend(height - 18).replace('HATCH', f'url(#{name}h)')}</svg>"
    )


def _lines(s: Sum) -> list[Line]:
    """The rows: addends, the sum, and what it becomes."""
    lines = [_addend(p, s) for p in s.addends]
    if s.total:
        low = lowest_bit(s.total) or 0
        low = low if s.place is None else min(low, s.place)
        rounded = s.rounded != "not yet"
        lines.append(Line("sum", "sum", s.total, low, s.end if rounded else None))
    if s.rounded == "not yet":
        return lines
    if is_finite(s.result) and s.result:
        value = Fraction(s.result)
        last = max(exact.floor_log2(abs(value)), s.f.emin) - s.f.fraction_bits
        lines.append(Line("result", "result", value, last, None))
    else:
        lines.append(Line("result", "result", Fraction(0), 0, None, written(s.result)))
    return lines


def _addend(p: Addend, s: Sum) -> Line:
    kind = "accumulator" if p.accumulator else "product"
    if not p.value or p.last is None:
        return Line(p.label, kind, Fraction(0), 0, None, "0")
    place, last = p.place, p.last
    if p.left_out:
        return Line(p.label, kind, p.value, last, exact.floor_log2(abs(p.value)) + 1, "left out")
    if place is not None and p.kept:
        last = min(last, place)
    note = ""
    if p.cut:
        note = (
            "all cut off" if not p.kept else f"{place - last if place is not None else 0} cut off"
        )
        if p.down and p.value < 0:
            note += ", rounded down"
    return Line(p.label, kind, p.value, last, place, note)


def _columns(lines: list[Line], places: list[int]) -> list[int | None]:
    """The powers of two that are drawn, None for a stretch of equal columns that is left out."""
    tops = [exact.floor_log2(abs(line.value)) for line in lines if line.value]
    lows = [line.last for line in lines if line.value]
    if not tops:
        return []
    top, low = max([*tops, *places]), min([*lows, *places])

    def look(e: int) -> tuple:
        drawn = tuple((line.digit(e), line.kept(e)) if line.digit(e) else "" for line in lines)
        return drawn, tuple(e >= place for place in places)

    shown: list[int | None] = []
    for _, run in groupby(range(top, low - 1, -1), key=look):
        some = list(run)
        if len(some) > _LONGEST:
            shown += [*some[:_END], None, *some[-_END:]]
        else:
            shown += some
    return shown


def _panel(s: Sum, lines: list[Line], y: float) -> tuple[str, float, float]:
    """One sum from height `y` on: the drawing, its width and its height."""
    places = sorted({p.place for p in s.addends if p.place is not None and p.value}, reverse=True)
    exponents = _columns(lines, places)
    left = 12 + _LETTER * max(8, *(len(line.label) for line in lines)) + 22
    at, x = {}, left
    gaps = []
    for e in exponents:
        if e is None:
            gaps.append(x)
            x += _GAP
        else:
            at[e] = x
            x += _CELL
    right = x + 8
    first = y + 42
    parts = [_text(12, y + 14, s.name, weight="bold"), _text(12, y + 28, _window(s), fill=_PALE)]
    top = first + 8
    parts += _ticks(at, first)
    for i, line in enumerate(lines):
        row = top + i * _ROW
        if line.kind == "sum" or (line.kind == "result" and lines[i - 1].kind != "sum"):
            parts.append(
                f'<line x1="12" y1="{row - 1:.1f}" x2="{right:.1f}" y2="{row - 1:.1f}" stroke="#9ca3af"/>'
            )
        parts += _row(line, row, left, right, at)
    bottom = top + len(lines) * _ROW
    parts += [_text(x + _GAP / 2, top + 12, "...", anchor="middle", fill=_PALE) for x in gaps]
    for place in places:
        rows = [i for i, p in enumerate(s.addends) if p.place == place]
        if place not in at:
            continue
        x = at[place] + _CELL - 0.5
        y1 = top + rows[0] * _ROW - 3 if len(places) > 1 else top - 3
        y2 = top + (rows[-1] + 1) * _ROW - 1 if len(places) > 1 else bottom
        parts.append(
            f'<line x1="{x:.1f}" y1="{y1:.1f}" x2="{x:.1f}" y2="{y2:.1f}" stroke="{_BAR}" stroke-width="2"/>'
        )
    note = max((len(line.note) for line in lines), default=0)
    width = max(right + _LETTER * note + 12, 24 + _LETTER * max(len(_window(s)), len(s.name)))
    return "".join(parts), width, bottom - y + 12


def _row(line: Line, y: float, left: float, right: float, at: dict[int, float]) -> list[str]:
    colour = COLOURS[line.kind]
    sign = ("-" if is_negative(line.value) else "+") if line.value else " "
    parts = [
        _text(12, y + 12, line.label, fill=colour, weight="bold"),
        _text(left - 14, y + 12, sign, fill=_INK),
    ]
    for e, x in at.items():
        digit = line.digit(e)
        if not digit:
            continue
        kept = line.kept(e)
        fill, ink = (colour, "#ffffff") if kept else ("HATCH", _INK)
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{_CELL - 0.8}" height="{_ROW - 3}" fill="{fill}"/>'
        )
        parts.append(_text(x + _CELL / 2 - 0.4, y + 11.5, digit, anchor="middle", fill=ink))
    if line.note and line.value:
        parts.append(_text(right, y + 12, line.note, fill=_PALE))
    elif line.note:
        parts.append(_text(left, y + 12, line.note, fill=_PALE))
    return parts


def _ticks(at: dict[int, float], y: float) -> list[str]:
    """Powers of two above the columns, as far apart as they can be read."""
    parts, free = [_text(12, y, "2 to the", fill=_PALE, size=9)] if at else [], 0.0
    for e, x in at.items():
        middle, half = x + _CELL / 2, 3 * len(str(e))
        if (e % 4 == 0 or x == next(iter(at.values()))) and middle - half > free:
            parts.append(_text(middle, y, str(e), anchor="middle", fill=_PALE, size=9))
            free = middle + half + 6
    return parts


def _window(s: Sum) -> str:
    if s.place is None:
        return "exactly; then rounded " + s.rounded if s.rounded != "not yet" else "exactly"
    return f"aligned to 2**{s.exponent}; a unit is 2**{s.place}"


def _legend(y: float) -> str:
    parts, x = [], 12.0
    names = [*((c, n) for n, c in COLOURS.items()), ("HATCH", "cut off or rounded away")]
    for fill, name in names:
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="10" height="10" fill="{fill}" stroke="#9ca3af" '
            f'stroke-width="0.5"/>'
        )
        parts.append(_text(x + 14, y + 9, name, fill=_INK, size=10))
        x += 14 + 6.1 * len(name) + 14
    return "".join(parts)


def _said(s: Sum) -> str:
    """The picture in words, for those who do not see it."""
    cut = [f"{p.label} loses {written(_real(p.cut))}" for p in s.cut]
    lost = "; ".join(cut) if cut else "nothing is cut off"
    return f"{s.name}: {len(s.addends)} addends, {_window(s)}; {lost}; the result is {written(s.result)}."


def _real(x: Fraction) -> float | Fraction:
    return float(x) if abs(x) < 2**1000 and Fraction(float(x)) == x else x


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    fill: str = _INK,
    weight: str = "normal",
    size: int = 11,
) -> str:
    more = f' text-anchor="{anchor}"' if anchor != "start" else ""
    more += f' font-weight="{weight}"' if weight != "normal" else ""
    more += f' font-size="{size}"' if size != 11 else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}"{more}>{html.escape(words)}</text>'
