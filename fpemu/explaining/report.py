"""An explanation as it is returned: text, facts, and a table for notebooks."""

from __future__ import annotations

from typing import Any

from fpemu.context import Arithmetic
from fpemu.markup import Line, Shown, inline, table
from fpemu.reals import Real

Section = tuple[str, list[Line]]


class Explanation(Shown):
    """The text of an explanation, which notebooks show as a table with coloured bits.

    `facts` is the same as data (what ``--json`` prints), `result` the value that came out, None
    where there is none: NaN refused, or left to chance. `svg` is a picture, "" where there is none.
    """

    facts: dict[str, Any]
    result: Real | None
    svg: str

    @classmethod
    def of(
        cls,
        title: str,
        sections: list[Section],
        facts: dict[str, Any],
        result: Real | None,
        svg: str = "",
    ) -> Explanation:
        """The explanation under a title, section by section, with a picture in notebooks."""
        width = max(len(label) for label, _ in sections)
        lines = [title]
        for label, content in sections:
            for i, line in enumerate(content):
                text = "".join(map(str, line))
                lines.append(f"{'' if i else label:{width}}  {text}".rstrip())
        rows: list[list[list[Line]]] = [[[[label]], content] for label, content in sections]
        head = f'<div style="font-weight:bold">{inline([title])}</div>'
        made = cls("\n".join(lines), f"<div>{head}{svg}{table([], rows)}</div>")
        made.facts, made.result, made.svg = facts, result, svg
        return made


def title(what: str, settings: Arithmetic) -> str:
    """The first line: what is explained, and the settings that are not the usual ones."""
    parts = [what, settings.rounding]
    if settings.saturation != "none":
        parts.append(f"saturation {settings.saturation}")
    if settings.subnormals != "gradual":
        parts.append(f"subnormals {settings.subnormals}")
    return ", ".join(parts)


def columns(rows: list[list[str]]) -> list[Line]:
    """Rows as lines of equal columns; bits keep their fields."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines: list[Line] = []
    for row in rows:
        line: list[str] = []
        for cell, width in zip(row, widths, strict=True):
            line += [cell, " " * (width - len(cell) + 2)]
        lines.append(line[:-1])
    return lines
