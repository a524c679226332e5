"""Learning curves by matplotlib, of one run or of several side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from fpemu.errors import missing_extra, unknown
from fpemu.files import written_whole
from fpemu.training.curves import COLORS

if TYPE_CHECKING:
    from fpemu.training.history import History

SUFFIXES = (".png", ".svg", ".pdf")


def plot(runs: Mapping[str, History], path: str | os.PathLike[str] | None = None) -> Any:
    """Training loss (dashed), test loss and test accuracy by epoch, a colour for each named run.

    Names longer than 40 letters are cut where there are several. Returns a matplotlib figure, made without pyplot; written whole to `path` if that is given.
    Raises `MissingExtraError` without matplotlib, `ArgumentError` for a path of another kind.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise missing_extra("matplotlib", "plotting", "plots") from None
    check(path)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for i, (name, history) in enumerate(runs.items()):
        epochs = [row["epoch"] for row in history.rows]
        look = {"color": COLORS[i % len(COLORS)], "markersize": 3}
        look["marker"] = "o" if len(epochs) < 12 else None
        for axes, column, dash in (
            (losses, "train_loss", "--"),
            (losses, "test_loss", "-"),
            (accuracies, "test_accuracy", "-"),
        ):
            values = [math.nan if row.get(column) is None else row[column] for row in history.rows]
            label = _short(name) if dash == "-" else None  # one word for both lines
            axes.plot(epochs, values, dash, **look, label=label)
    losses.set(xlabel="epoch", ylabel="loss", title="loss (dashed: training)")
    accuracies.set(xlabel="epoch", ylabel="accuracy", title="test accuracy")
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    if len(runs) > 1:
        accuracies.legend(fontsize="small")
    else:
        figure.suptitle("\n".join(wrap(" ".join(runs), 110)), fontsize="small")
    if path is not None:
        with written_whole(path) as out:
            figure.savefig(out, format=Path(path).suffix[1:], dpi=150)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:37] + "..."


def check(path: str | os.PathLike[str] | None) -> None:
    """`ArgumentError` unless `path` is None or ends like a picture that can be written."""
    if path is not None and Path(path).suffix not in SUFFIXES:
        raise unknown("kind of picture", Path(path).suffix or str(path), SUFFIXES)
