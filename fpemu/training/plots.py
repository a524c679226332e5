"""Learning curves by matplotlib, of one run or of several side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpemu.errors import missing_extra, unknown
from fpemu.files import written_whole
from fpemu.training.curves import COLORS

if TYPE_CHECKING:
    from fpemu.training.history import History

SUFFIXES = (".png", ".svg", ".pdf")


def plot(runs: Mapping[str, History], path: str | os.PathLike[str] | None = None) -> Any:
    """Training loss (dashed), test loss and test accuracy by epoch, a colour for each named run.

    Returns a matplotlib figure, made without pyplot; written whole to `path` if that is given.
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
        color = COLORS[i % len(COLORS)]
        epochs = [row["epoch"] for row in history.rows]
        few = "o" if len(epochs) < 12 else None

        def draw(
            axes: Any, column: str, dash: str, label: str, color=color, few=few, e=epochs, h=history
        ):
            values = [math.nan if row.get(column) is None else row[column] for row in h.rows]
            axes.plot(e, values, dash, color=color, marker=few, markersize=3, label=label)

        draw(losses, "train_loss", "--", f"{name}, training")
        draw(losses, "test_loss", "-", f"{name}, test")
        draw(accuracies, "test_accuracy", "-", name)
    losses.set(xlabel="epoch", ylabel="loss")
    accuracies.set(xlabel="epoch", ylabel="test accuracy")
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if runs:
            axes.legend(fontsize="x-small")
    if path is not None:
        with written_whole(path) as out:
            figure.savefig(out, format=Path(path).suffix[1:], dpi=150)
    return figure


def check(path: str | os.PathLike[str] | None) -> None:
    """`ArgumentError` unless `path` is None or ends like a picture that can be written."""
    if path is not None and Path(path).suffix not in SUFFIXES:
        raise unknown("kind of picture", Path(path).suffix or str(path), SUFFIXES)
