"""The training loop: batches, epochs, history, and what the policy did to the values."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fpemu import events
from fpemu.autograd.tensor import Tensor, no_grad
from fpemu.data.dataset import Dataset
from fpemu.errors import ArgumentError
from fpemu.nn.loss import cross_entropy
from fpemu.nn.module import Module
from fpemu.optim.sgd import SGD
from fpemu.policy import Policy, as_policy
from fpemu.random import Stream
from fpemu.scaling.loss_scale import in_fp32


@dataclass
class History:
    """What a training run did: one row per finished epoch, and all counted events.

    `rows` hold epoch, train_loss (mean over the epoch's batches, as it went), test_loss and
    test_accuracy (after the epoch) and seconds. `first_nonfinite` names the first step and
    parameter whose gradient held an infinity or NaN. `interrupted` is true after Ctrl-C.
    """

    policy: Policy
    rows: list[dict[str, Any]] = field(default_factory=list)
    trace: events.Trace = field(default_factory=events.Trace)
    first_nonfinite: dict[str, Any] | None = None
    steps: int = 0
    interrupted: bool = False

    @property
    def final(self) -> dict[str, Any]:
        """The last row; raises `ArgumentError` if no epoch was finished."""
        if not self.rows:
            raise ArgumentError("no epoch was finished")
        return self.rows[-1]


@dataclass
class Run:
    """One training run, an epoch at a time, so that runs can be watched side by side.

    Same model, data, policy, options and seed: same bits.
    """

    model: Module
    data: Dataset
    policy: Policy
    optimizer: SGD
    batch_size: int = 32
    seed: int = 0
    loss_weight: float = 1.0
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.batch_size = whole(self.batch_size, "batch_size", low=1)
        self.seed = whole(self.seed, "seed", low=0)
        weight = in_fp32(self.loss_weight, "loss_weight")
        # Formed once, in FP32. A power of two in either changes nothing but the exponents.
        self._scale = in_fp32(self.policy.loss_scale * weight, "loss_scale times loss_weight")
        mine, theirs = self.model.parameters(), self.optimizer.parameters
        if {id(p) for p in theirs} != {id(p) for p in mine}:
            raise ArgumentError(
                "the optimizer does not hold this model's parameters; make it with "
                "SGD(model.parameters(), ...)"
            )
        self.history = History(self.policy)
        with events.collect(self.history.trace):
            self.model.store_in(self.policy)

    def epoch(self, on_step: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Train on all batches once, then measure on the test rows; the new row of history."""
        started = time.perf_counter()
        number = len(self.history.rows) + 1
        order = Stream(self.seed, f"epoch/{number}").permutation(len(self.data.train_x))
        losses = []
        counted = events.Trace()  # merged when the epoch is finished, so that shares fit the rows
        with events.collect(counted), self.policy:
            for start in range(0, len(order), self.batch_size):
                losses.append(self._step(order[start : start + self.batch_size]))
                on_step()
        loss, accuracy = self.evaluate()
        row = {
            "epoch": number,
            "train_loss": float(np.mean(losses)),
            "test_loss": loss,
            "test_accuracy": accuracy,
            "seconds": time.perf_counter() - started,
        }
        self.history.rows.append(row)
        self.history.trace.merge(counted)
        return row

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the last one possibly smaller."""
        return -(-len(self.data.train_x) // self.batch_size)

    def _step(self, rows: np.ndarray) -> float:
        self.model.zero_grad()
        logits = self.model(Tensor(self.data.train_x[rows]))
        loss = cross_entropy(logits, self.data.train_y[rows])
        loss.backward(self._scale)
        self.history.steps += 1
        if self.history.first_nonfinite is None:
            self._look_for_nonfinite()
        # A loss weight is divided out with the scale: the same mathematics, smaller gradients.
        self.optimizer.step(divide_by=self._scale, saturation=self.policy.saturation)
        return loss.item()

    def _look_for_nonfinite(self) -> None:
        for name, p in self.model.named_parameters():
            if p.grad is not None and not np.isfinite(np.asarray(p.grad)).all():
                self.history.first_nonfinite = {"step": self.history.steps, "parameter": name}
                return

    def evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy on the test rows, under the policy; nothing is counted.

        The prediction is the first largest logit; NaN counts as largest, as in NumPy.
        """
        loss, right, rows = 0.0, 0, len(self.data.test_x)
        with events.paused(), no_grad(), self.policy:
            for start in range(0, rows, 256):
                x, y = (v[start : start + 256] for v in (self.data.test_x, self.data.test_y))
                logits = self.model(Tensor(x))
                loss += cross_entropy(logits, y).item() * len(y)
                right += int(np.sum(np.argmax(np.asarray(logits), axis=1) == y))
        return loss / rows, right / rows


def train(
    model: Module,
    data: Dataset | tuple[object, object],
    *,
    policy: Policy | str | os.PathLike[str] = "fp32",
    optimizer: SGD | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    loss_weight: float = 1.0,
    progress: bool = False,
) -> History:
    """Train `model` on `data` with cross-entropy, every value rounded as `policy` says.

    Parameters
    ----------
    model : takes (batch, features); its parameters are first rounded to the policy's storage
        format.
    data : a `Dataset`, or (x, y) to be split by `Dataset.split`.
    policy : a `Policy`, its text, or the path of a file that holds one (.toml, .json, .txt).
    optimizer : by default ``SGD(model.parameters(), lr=0.1)``.
    epochs, batch_size, seed : the seed decides the order of the rows.
    loss_weight : multiplies the loss gradient, together with the policy's loss scale, and is
        divided out before the update: shrinks gradients without changing the mathematics, to
        study underflow.
    progress : show a bar on standard error (with tqdm, extra "progress") or a line per epoch.

    Returns `History`. Ctrl-C ends the run; the history of the finished epochs is returned. A run
    whose values become infinite or NaN goes on: its history shows it.
    Raises `ArgumentError` for bad data (NaN and infinities among it), policy or numbers, and for
    an optimizer of another model.

    >>> import fpemu as fp
    >>> fp.manual_seed(0)
    >>> model = fp.nn.mlp([2, 8, 2])
    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 30)
    >>> history = train(model, (x, x[:, 0]), policy="fp16", epochs=20)
    >>> history.final["test_accuracy"]
    1.0
    """
    from fpemu.progress import track

    epochs, seed = whole(epochs, "epochs", low=0), whole(seed, "seed", low=0)
    if not isinstance(model, Module):
        raise ArgumentError(f"train takes a model of fpemu.nn, got {model!r}")
    if not isinstance(data, Dataset):
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise ArgumentError(
                f"data must be a Dataset or a pair (x, y), got {type(data).__name__}"
            )
        data = Dataset.split("data", *data, seed=seed)
    policy = as_policy(policy)
    optimizer = optimizer or SGD(model.parameters(), lr=0.1)
    run = Run(model, data, policy, optimizer, batch_size, seed, loss_weight)
    try:
        for _ in track(_epochs(run, epochs), total=epochs, label="epochs", show=progress):
            pass
    except KeyboardInterrupt:
        run.history.interrupted = True
    return run.history


def whole(value: object, name: str, *, low: int) -> int:
    """`value` as an int of at least `low`, NumPy's integers included, or `ArgumentError`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        kind = "a non-negative integer" if low == 0 else "a positive integer"
        raise ArgumentError(f"{name} must be {kind}, got {value!r}")
    return int(value)


def _epochs(run: Run, epochs: int) -> Iterator[dict[str, Any]]:
    for _ in range(epochs):
        yield run.epoch()
