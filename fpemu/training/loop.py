"""`train`: epochs until they are done, somebody has seen enough, or Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fpemu.data.dataset import Dataset
from fpemu.data.loader import whole
from fpemu.errors import ArgumentError
from fpemu.nn.module import Module
from fpemu.optim import SGD, LRScheduler, Optimizer
from fpemu.policy import Policy, as_policy
from fpemu.progress import track
from fpemu.training.callbacks import Callback, EarlyStopping
from fpemu.training.checkpoint import load_checkpoint, restore
from fpemu.training.history import History
from fpemu.training.run import Loss, Run


def train(
    model: Module,
    data: Dataset | tuple[object, object],
    *,
    policy: Policy | str | os.PathLike[str] = "fp32",
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    loss: Loss | None = None,
    loss_weight: float = 1.0,
    micro_batches: int = 1,
    schedule: LRScheduler | Callable[[int], float] | None = None,
    clip_norm: float | None = None,
    scaler: Any = None,
    callbacks: Sequence[Callback] = (),
    early_stop: int | EarlyStopping | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int | None = None,
    watch: int = 1,
    resume: bool | str | os.PathLike[str] = False,
    progress: bool = False,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
) -> History:
    """Train `model` on `data`, every value rounded as `policy` says.

    Parameters
    ----------
    model : takes (batch, ...); its parameters are first rounded to the policy's storage format. It is
        set to training, and to evaluation while it is tested.
    data : a `Dataset`, or (x, y) to be split by `Dataset.split`; targets that are no integers are numbers
        if a `loss` is given.
    policy : a `Policy`, its text, or the path of a file that holds one (.toml, .json, .txt).
    optimizer : by default ``SGD(model.parameters(), lr=0.1)``.
    epochs, batch_size, seed : epochs in all, those before a resumption included; the seed decides the
        order of the rows (see `fpemu.data.Loader`) and all random bits.
    loss : a function of (predictions, targets) that gives the mean over the rows, as a tensor; by default
        cross-entropy, with sequences (batch, time, classes) over all tokens.
    loss_weight : multiplies the loss gradient, together with the policy's loss scale, and is
        divided out before the update: shrinks gradients without changing the mathematics, to
        study underflow.
    micro_batches : pieces into which a batch is cut, whose gradients are added in the policy's
        `gradient_sum` format; `Run` says what is scaled where.
    schedule : one of `fpemu.optim` made with this optimizer, whose numbers count steps; or a function of
        the number of steps done that gives the learning rate of the next.
    clip_norm : largest norm of all gradients together, in FP32; see `fpemu.optim.clip_grad_norm_`.
    scaler : a dynamic loss scale: has ``scale``, a number, and ``update(found_inf)``, which says whether
        to take the step; instead of the policy's loss_scale.
    callbacks : functions of (run, row), called after every epoch, or objects; see
        `fpemu.training.callbacks`.
    early_stop : epochs without a better test loss after which to stop, or an `EarlyStopping`.
    checkpoint : a path to which everything is written after every epoch, also after each `every` steps,
        and on Ctrl-C. A file that is there already is not written over: `resume` goes on from it.
    watch : the history's trace counts the first of so many steps, and each so-manyth after it; 0: none.
        Counting changes no bit, but where products are most of the work a step takes several times as long.
    resume : go on from the file at `checkpoint` if there is one (True), or from another file. The bits are
        then those of a run that did not stop.
    progress : show a bar on standard error (with tqdm, extra "progress") or a line per epoch.
    on_epoch : called with the new row of the history after every epoch.

    Returns `History`. Ctrl-C waits for the end of the step, writes the checkpoint, and ends the run; the
    history of the finished epochs is returned. A run whose values become infinite or NaN goes on: its
    history shows it.
    Raises `ArgumentError` for bad data (NaN and infinities among it), policy or numbers, for an
    optimizer of another model, and for a checkpoint of another run.

    >>> import fpemu as fp
    >>> fp.manual_seed(0)
    >>> model = fp.nn.mlp([2, 8, 2])
    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 30)
    >>> history = train(model, (x, x[:, 0]), policy="fp16", epochs=20)
    >>> history.final["test_accuracy"]
    1.0
    """
    epochs, seed = whole(epochs, "epochs", low=0), whole(seed, "seed", low=0)
    if not isinstance(model, Module):
        raise ArgumentError(f"train takes a model of fpemu.nn, got {model!r}")
    if not isinstance(data, Dataset):
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise ArgumentError(
                f"data must be a Dataset or a pair (x, y), got {type(data).__name__}"
            )
        data = Dataset.split("data", *data, seed=seed, targets=_kind(data[1], loss))
    policy = as_policy(policy)
    optimizer = SGD(model.parameters(), lr=0.1) if optimizer is None else optimizer
    if isinstance(optimizer, (str, type)) or not hasattr(optimizer, "step"):
        raise ArgumentError(
            f"optimizer must be made with the model's parameters, as optim.Adam(model.parameters()), got "
            f"{optimizer!r}"
        )
    run = Run(
        *(model, data, policy, optimizer, batch_size, seed, loss_weight),
        loss=loss,
        micro_batches=micro_batches,
        schedule=schedule,
        clip_norm=clip_norm,
        scaler=scaler,
        callbacks=[*callbacks, *stopping(early_stop)],
        checkpoint=checkpoint,
        every=every,
        watch=watch,
    )
    go_on(run, resume)
    left = epochs - len(run.history.rows)
    try:
        for row in _shown(run, epochs) if progress and left > 0 else _epochs(run, epochs):
            if on_epoch is not None:
                on_epoch(row)
        run.finish()
    except KeyboardInterrupt:
        run.history.interrupted = True
    return run.history


def go_on(run: Run, resume: bool | str | os.PathLike[str]) -> None:
    """Bring the run to where a checkpoint was written, as `train` describes `resume`."""
    if resume is False or resume is None:
        if run.checkpoint is not None and Path(run.checkpoint).exists():
            raise ArgumentError(
                f"there is a checkpoint at {os.fspath(run.checkpoint)!r}, which this run would write over; go on "
                "from it with resume=True (--resume), remove it, or give another path"
            )
        return
    if resume is True:
        if run.checkpoint is None:
            raise ArgumentError("resume=True goes on from the file at checkpoint: give that path")
        if not Path(run.checkpoint).exists():
            return
        resume = run.checkpoint
    if run.checkpoint is None:
        raise ArgumentError(
            f"resume={str(resume)!r}: also give checkpoint, the path to write to; it may be the same"
        )
    restore(run, load_checkpoint(resume))


def stopping(early_stop: int | EarlyStopping | None) -> list[EarlyStopping]:
    """The callback that `early_stop` means, if any."""
    if early_stop is None:
        return []
    return [early_stop if isinstance(early_stop, EarlyStopping) else EarlyStopping(early_stop)]


def _epochs(run: Run, epochs: int, on_step: Callable[[], object] = lambda: None) -> Iterator[Any]:
    while len(run.history.rows) < epochs and run.history.stopped is None:
        yield run.epoch(on_step)


def _shown(run: Run, epochs: int) -> Iterator[Any]:
    """The epochs, with a bar over steps on standard error, or a line per epoch."""
    left = epochs - len(run.history.rows)
    try:
        from tqdm import tqdm
    except ImportError:
        yield from track(_epochs(run, epochs), total=left, label="epochs")
        return
    total, done = epochs * run.steps_per_epoch, run.history.steps
    with tqdm(total=total, initial=done, desc="steps", leave=False, file=sys.stderr) as bar:
        for row in _epochs(run, epochs, on_step=bar.update):
            bar.set_postfix(
                {k: f"{row[k]:.4g}" for k in ("train_loss", "test_accuracy") if row[k] is not None}
            )
            yield row


def _kind(targets: object, loss: Loss | None) -> str:
    """Targets that are no integers are numbers, where a loss was given that may want such."""
    is_number = loss is not None and np.asarray(targets).dtype.kind == "f"
    return "numbers" if is_number else "classes"
