"""What may look on while a run is trained, and stop it.

A callback is a function of (run, row) called after every epoch, or an object with any of
``on_epoch(run, row)``, ``on_step(run, loss)``, ``on_end(run)``, and, if it keeps something,
``state_dict()`` and ``load_state_dict(state)``, which checkpoints then hold. ``run.stop(reason)`` ends the
run after the epoch.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fpemu.data.loader import whole
from fpemu.errors import ArgumentError, unknown

if TYPE_CHECKING:
    from fpemu.training.run import Run

Callback = Callable[..., Any] | Any  # or an object with the methods above
METHODS = ("on_epoch", "on_step", "on_end")


def method(callback: Callback, name: str) -> Callable[..., Any] | None:
    """The method `name` of a callback, if it has it; a plain function is its ``on_epoch``."""
    found = getattr(callback, name, None)
    if found is None and name == "on_epoch" and not any(hasattr(callback, m) for m in METHODS):
        return callback
    return found


def check(callback: Callback) -> None:
    """`ArgumentError` unless this is a callback."""
    if not callable(callback) and not any(hasattr(callback, m) for m in METHODS):
        raise ArgumentError(
            f"a callback is a function of (run, row) or an object with {', '.join(METHODS)}, got {callback!r}"
        )


class EarlyStopping:
    """Stops a run that has got no better for `patience` epochs.

    Parameters
    ----------
    patience : epochs without improvement, at least 1.
    monitor : the column of the history to watch: "test_loss", "test_accuracy", "train_loss".
    min_delta : by how much more than this a value must be better to count.
    restore_best : at the end of the run, stopped or not, put back the parameters and buffers of the best
        epoch (not after Ctrl-C, and not in the checkpoint, from which the run may go on).

    Accuracies should grow, losses shrink; NaN is never better. `best` and `best_epoch` say what was found.

    >>> stop = EarlyStopping(patience=2, monitor="test_loss")
    >>> [stop.better(v) for v in (1.0, 0.5, 0.75, math.nan)], stop.best, stop.waited
    ([True, True, False, False], 0.5, 2)
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        monitor: str = "test_loss",
        min_delta: float = 0.0,
        restore_best: bool = False,
    ) -> None:
        self.patience: int = whole(patience, "patience", low=1)
        watched = ("test_loss", "test_accuracy", "train_loss")
        if monitor not in watched:
            raise unknown("monitor", monitor, watched)
        if not isinstance(min_delta, numbers.Real) or not 0 <= float(min_delta) < math.inf:
            raise ArgumentError(f"min_delta must be a finite number from 0, got {min_delta!r}")
        self.monitor: str = monitor
        self.min_delta: float = float(min_delta)
        self.restore_best: bool = bool(restore_best)
        self.best: float | None = None
        self.best_epoch: int = 0
        self.waited: int = 0
        self._weights: dict[str, Any] | None = None

    def better(self, value: float) -> bool:
        """Take the value of another epoch into account: whether it is better than the best so far."""
        sign = 1 if "accuracy" in self.monitor else -1
        gain = math.inf if self.best is None else sign * (value - self.best)
        improved = not math.isnan(value) and gain > self.min_delta
        if improved:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return improved

    def on_epoch(self, run: Run, row: Mapping[str, Any]) -> None:
        """Look at the new row; stop the run if it is time."""
        value = row[self.monitor]
        if value is None:
            raise ArgumentError(f"there is no {self.monitor} to watch: the targets are no classes")
        if self.better(value):
            self.best_epoch = row["epoch"]
            if self.restore_best:
                self._weights = run.tensors()  # arrays are immutable: no copies
        elif self.waited >= self.patience:
            best = "none" if self.best is None else f"{self.best:.4g} in epoch {self.best_epoch}"
            run.stop(f"no better {self.monitor} for {self.waited} epochs (best: {best})")

    def on_end(self, run: Run) -> None:
        """Put the best weights back, if that is wanted."""
        if self.restore_best and self._weights is not None:
            run.put(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What was found so far, for checkpoints."""
        names = ("best", "best_epoch", "waited")
        return {**{name: getattr(self, name) for name in names}, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another stood."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.waited, self._weights = state["waited"], state["weights"]
