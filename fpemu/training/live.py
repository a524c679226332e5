"""Curves that grow while a run is trained: in notebooks a picture, in terminals a line per epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from fpemu.training.curves import bars

if TYPE_CHECKING:
    from fpemu.training.run import Run


class LiveCurves:
    """A callback that shows the history after every epoch: ``callbacks=[LiveCurves()]``.

    In a notebook (where IPython has a kernel) the curves and the table are drawn anew in place; elsewhere
    a line goes to `file`, by default standard error, with bars of the test loss (of the training loss
    where there are no test rows). Nothing is changed.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self._display: Any = None

    def on_epoch(self, run: Run, row: Mapping[str, Any]) -> None:
        """Show the new row."""
        if self.file is None and in_notebook():
            self._draw(run)
            return
        column = "test_loss" if row["test_loss"] is not None else "train_loss"
        curve = bars([r[column] for r in run.history.rows])
        shown = [f"epoch {row['epoch']}", f"loss {row['train_loss']:.4f}"]
        if row["test_loss"] is not None:
            shown.append(f"test {row['test_loss']:.4f}")
        if row["test_accuracy"] is not None:
            shown.append(f"accuracy {row['test_accuracy']:.2%}")
        out = self.file or sys.stderr
        if out is not None:
            print("  ".join([*shown, curve]), file=out, flush=True)

    def _draw(self, run: Run) -> None:
        from IPython.display import HTML, display

        picture = HTML(run.history._repr_html_())
        if self._display is None:
            self._display = display(picture, display_id=True)
        else:
            self._display.update(picture)


def in_notebook() -> bool:
    """Whether this runs in IPython with a kernel that shows pictures."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None
