"""`Run`: one training run, an epoch at a time, every step in one piece."""

from __future__ import annotations

import contextlib
import math
import numbers
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from fpemu import events
from fpemu.arrays import Array
from fpemu.autograd import draws
from fpemu.autograd.tensor import Tensor, no_grad
from fpemu.data.dataset import Dataset
from fpemu.data.loader import Loader, whole
from fpemu.errors import ArgumentError
from fpemu.nn.loss import cross_entropy
from fpemu.nn.module import Module
from fpemu.optim import LRScheduler, clip_grad_norm_
from fpemu.policy import Policy
from fpemu.scaling.loss_scale import in_fp32
from fpemu.training import callbacks as watching
from fpemu.training.history import History
from fpemu.training.interrupts import held
from fpemu.training.settings import settings_of

Loss = Callable[[Tensor, np.ndarray], Tensor]
ROWS_AT_ONCE = 256  # in an evaluation


@dataclass
class Run:
    """One training run, an epoch at a time, so that runs can be watched side by side.

    Same model, data, policy, options and seed: same bits. See `fp.train` for the options. A step and
    what is noted of it are one piece that Ctrl-C waits for, so that the run can always be saved and
    go on.

    What is scaled where, in a step on a batch of n rows:

    1. The batch is cut into `micro_batches` pieces of consecutive rows, as equal as can be
       (`numpy.array_split`; empty ones are left out). For each, the model runs and the loss is the mean
       over the piece's m rows: its bits are those of a batch of m rows.
    2. Each piece's backward pass starts from loss_scale * loss_weight * (m / n): loss_scale * loss_weight is
       formed in float64 and rounded once to FP32, the product with m / n in float64, and that is rounded to
       the loss's format. So every row's gradient starts as large as it would in an undivided batch, and the
       sum over pieces is the gradient of the mean over the whole batch.
    3. The pieces' gradients of a parameter are added in order, each sum rounded in the policy's
       `gradient_sum` format (by default the gradient's own), at ``<parameter>/gradient_sum``.
    4. If `clip_norm` is given, these sums, scale and all, are clipped to clip_norm times the scale: nothing
       is divided before, where it could underflow (`fpemu.optim.clip_grad_norm_`).
    5. The optimizer divides by loss_scale * loss_weight, as rounded in 2.
    """

    model: Module
    data: Dataset
    policy: Policy
    optimizer: Any
    batch_size: int = 32
    seed: int = 0
    loss_weight: float = 1.0
    _: KW_ONLY
    loss: Loss | None = None
    micro_batches: int = 1
    schedule: LRScheduler | Callable[[int], float] | None = None
    clip_norm: float | None = None
    scaler: Any = None
    callbacks: Sequence[watching.Callback] = ()
    checkpoint: str | os.PathLike[str] | None = None
    every: int | None = None
    watch: int = 1
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.seed = whole(self.seed, "seed", low=0)
        self._loader = Loader(self.data, self.batch_size, seed=self.seed)
        self.batch_size = self._loader.batch_size
        self.micro_batches = whole(self.micro_batches, "micro_batches", low=1)
        self.watch = whole(self.watch, "watch", low=0)
        if self.every is not None:
            self.every = whole(self.every, "every", low=1)
            if self.checkpoint is None:
                raise ArgumentError("every says how often to save: give checkpoint, a path, too")
        if self.clip_norm is not None and not _positive(self.clip_norm):
            raise ArgumentError(
                f"clip_norm must be a positive finite number, got {self.clip_norm!r}"
            )
        if self.loss is not None and not callable(self.loss):
            raise ArgumentError(f"loss must be a function, got {self.loss!r}")
        self._check_schedule()
        if self.loss is None and self.data.train_y.dtype.kind != "i":
            raise ArgumentError(
                f"data {self.data.name!r} has numbers as targets: give a loss, a function of predictions "
                "and targets"
            )
        self.callbacks = tuple(self.callbacks)
        for callback in self.callbacks:
            watching.check(callback)
        self._weight = in_fp32(self.loss_weight, "loss_weight")
        if self.scaler is not None and self.policy.loss_scale != 1:
            raise ArgumentError(
                f"the policy says loss_scale={self.policy.loss_scale:g}, and a scaler is given: leave out one"
            )
        self.scale = self._next_scale()
        mine, theirs = self.model.parameters(), self.optimizer.parameters
        if {id(p) for p in theirs} != {id(p) for p in mine}:
            raise ArgumentError(
                "the optimizer does not hold this model's parameters; make it with "
                "SGD(model.parameters(), ...)"
            )
        for override in self.policy.overrides:
            override.check_suits(module.place for module in self.model.modules())
        self.settings = settings_of(self)
        self.history = History(self.policy)
        self.counted = events.Trace()  # of the unfinished epoch, so that shares fit the rows
        self.spent = 0.0  # seconds in the unfinished epoch
        self._is_whole = True
        with events.collect(self.history.trace), draws.block(self.seed, 0):
            self.model.store_in(self.policy)

    def _check_schedule(self) -> None:
        if isinstance(self.schedule, LRScheduler):
            if self.schedule.optimizer is not self.optimizer:
                raise ArgumentError(
                    "the schedule is one of another optimizer; make it with this run's"
                )
            if self.schedule.last_epoch != 0:
                raise ArgumentError(
                    f"the schedule has done {self.schedule.last_epoch} steps already; make a new one"
                )
        elif self.schedule is not None and not callable(self.schedule):
            raise ArgumentError(
                "schedule must be one of fpemu.optim, or a function of the step, got "
                f"{self.schedule!r}"
            )

    # -- epochs ---------------------------------------------------------------------------

    def epoch(self, on_step: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Train on all batches once, then measure on the test rows; the new row of history.

        Goes on in the middle of an epoch if the run was interrupted or restored there. On Ctrl-C the
        checkpoint, if there is one, is written before `KeyboardInterrupt` goes on its way.
        """
        try:
            return self._epoch(on_step)
        except KeyboardInterrupt:
            if self.checkpoint is not None and self._is_whole:
                self.save()
            raise

    def _epoch(self, on_step: Callable[[], object]) -> dict[str, Any]:
        started = time.perf_counter() - self.spent
        number = len(self.history.rows) + 1
        self._loader.load_state_dict({"epoch": number, "position": self.position})
        self.model.train()
        with self.policy:
            for rows in self._loader.rows():
                with self._in_one_piece():
                    with self._watching():
                        loss = self._step(rows)
                    self.history.losses.append(loss)
                    self.spent = time.perf_counter() - started
                    self._tell("on_step", loss)
                on_step()
                if self.every and self.history.steps % self.every == 0:
                    self.save()
        test_loss, accuracy = self.evaluate()
        with self._in_one_piece():
            row = {
                "epoch": number,
                "train_loss": float(np.mean(self.history.losses[-len(self._loader) :])),
                "test_loss": test_loss,
                "test_accuracy": accuracy,
                "seconds": time.perf_counter() - started,
            }
            if self.schedule is not None:
                row["lr"] = self.optimizer.lr
            self.history.rows.append(row)
            self.history.trace.merge(self.counted)
            self.counted, self.spent = events.Trace(), 0.0
            self._tell("on_epoch", row)
        if self.checkpoint is not None:
            self.save()
        return row

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the last one possibly smaller."""
        return len(self._loader)

    @property
    def position(self) -> int:
        """Batches of the unfinished epoch that are done."""
        return self.history.steps - len(self.history.rows) * len(self._loader)

    def stop(self, reason: str) -> None:
        """End the run after the present epoch; `reason` is kept as ``history.stopped``."""
        self.history.stopped = str(reason)

    def finish(self) -> None:
        """Tell the callbacks that no epoch follows: the best weights are put back if so wanted."""
        self._tell("on_end")

    def _watching(self) -> contextlib.AbstractContextManager[None]:
        """Counting for the next step, if it is one that is counted."""
        counted = self.watch and self.history.steps % self.watch == 0
        return events.collect(self.counted) if counted else contextlib.nullcontext()

    def _tell(self, name: str, *news: Any) -> None:
        for callback in self.callbacks:
            told = watching.method(callback, name)
            if told is not None:
                told(self, *news)

    @contextlib.contextmanager
    def _in_one_piece(self) -> Iterator[None]:
        with held():
            self._is_whole = False
            yield
            self._is_whole = True

    # -- a step ---------------------------------------------------------------------------

    def _step(self, rows: np.ndarray) -> float:
        with draws.block(self.seed, self.history.steps + 1):
            self._set_rate(self.history.steps)
            self.scale = self._next_scale()
            self.model.zero_grad()
            loss = self._gradients(rows)
            self.history.steps += 1
            bad = self._nonfinite() if self._looks_for_nonfinite() else None
            if bad is not None and self.history.first_nonfinite is None:
                self.history.first_nonfinite = {"step": self.history.steps, "parameter": bad}
            if self.scaler is None or self.scaler.update(bad is not None):
                if self.clip_norm is not None:
                    clip_grad_norm_(self.optimizer.parameters, self.clip_norm * self.scale)
                # A loss weight is divided out with the scale: the same mathematics, smaller gradients.
                self.optimizer.step(divide_by=self.scale, saturation=self.policy.saturation)
            return loss

    def _gradients(self, rows: np.ndarray) -> float:
        """Forward and backward over the batch, piece by piece; its mean loss."""
        pieces = [rows]
        if self.micro_batches > 1:
            pieces = [p for p in np.array_split(rows, self.micro_batches) if len(p)]
        total = 0.0
        for piece in pieces:
            loss = self._loss_of(self._predict(self.data.train_x[piece]), self.data.train_y[piece])
            loss.backward(self.scale * (len(piece) / len(rows)))
            if len(pieces) == 1:
                return loss.item()
            total += loss.item() * len(piece)
        return total / len(rows)

    def _predict(self, x: np.ndarray) -> Tensor:
        return self.model(x if x.dtype.kind == "i" else Tensor(x))

    def _loss_of(self, predicted: Tensor, targets: np.ndarray) -> Tensor:
        if self.loss is not None:
            return self.loss(predicted, targets)
        if targets.ndim > 1 and predicted.shape[:-1] == targets.shape:  # sequences
            predicted = predicted.reshape(-1, predicted.shape[-1])
            targets = targets.reshape(-1)
        return cross_entropy(predicted, targets)

    def _next_scale(self) -> float:
        # Formed once, in FP32. A power of two in either changes nothing but the exponents.
        own = self.policy.loss_scale if self.scaler is None else self.scaler.scale
        return in_fp32(own * self._weight, "loss_scale times loss_weight")

    def _set_rate(self, step: int) -> None:
        """The learning rate of step number `step`, from 0. Schedules go on before a step, not after it,
        so that the optimizer's rate is the one used last."""
        if isinstance(self.schedule, LRScheduler):
            if step:
                self.schedule.step()
        elif self.schedule is not None:
            lr = self.schedule(step)
            if not isinstance(lr, numbers.Real) or not 0 <= float(lr) < math.inf:
                raise ArgumentError(
                    f"the schedule must give a finite number from 0 for step {step}, got {lr!r}"
                )
            self.optimizer.lr = float(lr)

    def _looks_for_nonfinite(self) -> bool:
        return self.scaler is not None or self.history.first_nonfinite is None

    def _nonfinite(self) -> str | None:
        """The first parameter whose gradient holds an infinity or NaN."""
        for name, p in self.model.named_parameters():
            if p.grad is not None and not np.isfinite(np.asarray(p.grad)).all():
                return name
        return None

    # -- evaluation -----------------------------------------------------------------------

    def evaluate(self) -> tuple[float | None, float | None]:
        """Mean loss and accuracy on the test rows, in evaluation mode, under the policy; nothing is
        counted. None for what there is not: test rows, or classes.

        The prediction is the first largest logit; NaN counts as largest, as in NumPy. Random bits are
        those of step -n after epoch n, so that no training step draws them.
        """
        loss, right, guesses, rows = 0.0, 0, 0, len(self.data.test_x)
        if not rows:
            return None, None
        step = -(len(self.history.rows) + 1)
        with (
            events.paused(),
            no_grad(),
            self.policy,
            draws.block(self.seed, step),
            self._evaluating(),
        ):
            for start in range(0, rows, ROWS_AT_ONCE):
                x, y = (
                    v[start : start + ROWS_AT_ONCE] for v in (self.data.test_x, self.data.test_y)
                )
                predicted = self._predict(x)
                loss += self._loss_of(predicted, y).item() * len(y)
                guessed = classes_of(np.asarray(predicted), y)
                if guessed is not None:
                    right, guesses = right + int(np.sum(guessed == y)), guesses + y.size
        return loss / rows, right / guesses if guesses else None

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        before = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            yield
        finally:
            for module, training in before:
                module.training = training

    # -- state ----------------------------------------------------------------------------

    def tensors(self) -> dict[str, Array]:
        """The parameters and buffers by name, as they are now: arrays never change."""
        return {name: t.data for name, t in self._tensors().items()}

    def put(self, arrays: Mapping[str, Array]) -> None:
        """Set the parameters and buffers to what `tensors` gave."""
        own = self._tensors()
        for name, value in arrays.items():
            own[name].data = value
            own[name].grad = None

    def _tensors(self) -> dict[str, Tensor]:
        return {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write a checkpoint to `path`, by default the run's own; see `Checkpoint`.

        Raises `ArgumentError` if a step was broken off by an error: what there is then is no state to
        go on from.
        """
        from fpemu.training.checkpoint import save

        target = self.checkpoint if path is None else path
        if target is None:
            raise ArgumentError("save needs a path, here or as the run's checkpoint")
        if not self._is_whole:
            raise ArgumentError("this run was broken off inside a step and cannot be saved")
        with held():
            save(self, target)


def classes_of(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """The class with the largest logit: logits lie along the axis that targets lack, the last one or the
    second; None where there is no such axis, or targets are no classes."""
    if targets.dtype.kind != "i" or predicted.ndim != targets.ndim + 1:
        return None
    for axis in (predicted.ndim - 1, 1):
        if predicted.shape[:axis] + predicted.shape[axis + 1 :] == targets.shape:
            return np.argmax(predicted, axis=axis)
    return None


def _positive(value: object) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    return 0 < float(value) < math.inf
