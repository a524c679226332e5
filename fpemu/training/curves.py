"""Learning curves without a plotting library: a small SVG for notebooks, bars of text for terminals."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fpemu.training.history import History

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
PANELS = (
    ("loss", (("train_loss", "4 3", "train"), ("test_loss", "", "test"))),
    ("test accuracy", (("test_accuracy", "", "test"),)),
)
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 300, 170, 52, 24, 26


def svg(runs: Mapping[str, History]) -> str:
    """Loss and test accuracy by epoch of the named runs, as an SVG element; "" if there is no row.

    Numbers that are not finite leave a gap.
    """
    if not any(history.rows for history in runs.values()):
        return ""
    panels = [
        _panel(title, runs, lines, i * (WIDTH + 20))
        for i, (title, lines) in enumerate(PANELS)
        if any(_points(h, column) for h in runs.values() for column, _, _ in lines)
    ]
    legend = [
        f'<text x="{LEFT}" y="{HEIGHT + 16 * i + 14}" fill="{_color(i)}">{html.escape(name[:100])}</text>'
        for i, name in enumerate(runs)
        if len(runs) > 1
    ]
    width, height = len(panels) * (WIDTH + 20), HEIGHT + 16 * len(legend) + 4
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        + "".join(panels + legend)
        + "</svg>"
    )


def bars(values: Sequence[float], width: int = 24) -> str:
    """The last `width` values as one line of bars, the largest the highest; "x" if not finite.

    >>> bars([1.0, 0.5, 0.25, 0.0, math.nan])
    '█▅▃▁x'
    """
    shown = list(values)[-width:]
    finite = [v for v in shown if math.isfinite(v)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    steps = "▁▂▃▄▅▆▇█"
    span = high - low
    return "".join(
        ("x" if not math.isfinite(v) else steps[round(7 * (v - low) / span) if span else 0])
        for v in shown
    )


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def _points(history: History, column: str) -> list[tuple[int, float]]:
    rows = [(row["epoch"], row.get(column)) for row in history.rows]
    return [(epoch, value) for epoch, value in rows if value is not None and math.isfinite(value)]


def _panel(title: str, runs: Mapping[str, History], lines, x0: int) -> str:
    drawn = [
        (_points(history, column), _color(i), dash, label)
        for i, history in enumerate(runs.values())
        for column, dash, label in lines
    ]
    every = [point for points, *_ in drawn for point in points]
    epochs, values = [e for e, _ in every], [v for _, v in every]
    first, last = min(epochs), max(epochs)
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad

    def at(point: tuple[int, float]) -> tuple[float, float]:
        across = (point[0] - first) / (last - first) if last > first else 0.5
        up = (point[1] - low) / (high - low)
        return (
            x0 + LEFT + across * (WIDTH - LEFT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    base, right = HEIGHT - BOTTOM, x0 + WIDTH
    said = title if len(lines) == 1 else f"{title} (dashed: training)"
    parts = [
        f'<text x="{x0 + LEFT}" y="14" font-weight="bold">{said}</text>',
        f'<path d="M{x0 + LEFT} {TOP}V{base}H{right}" fill="none" stroke="#888"/>',
        f'<text x="{right}" y="{base + 16}" text-anchor="end">epoch {last}</text>',
        f'<text x="{x0 + LEFT}" y="{base + 16}">{first}</text>',
    ]
    for value in (low + pad, high - pad):
        y = at((first, value))[1]
        parts.append(
            f'<text x="{x0 + LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
    for points, color, dash, _ in drawn:
        if len(points) == 1:
            x, y = at(points[0])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>')
        elif points:
            way = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, points))
            dashed = f' stroke-dasharray="{dash}"' if dash else ""
            parts.append(
                f'<polyline points="{way}" fill="none" stroke="{color}" stroke-width="1.5"{dashed}/>'
            )
    return "".join(parts)
