"""Losses: functions from predictions and targets to a scalar tensor, in the policy's loss format.

They are PyTorch's, with its options; `reduction` is "mean", "sum" or "none". Places stand under
``loss/`` and are listed in `fpemu.autograd.operations`, `losses`, `element_losses` and `reduction`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.autograd.operations import (
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    HUBER,
    MSE,
    NLL,
    SMOOTH_L1,
)
from fpemu.autograd.tensor import Operation, Tensor
from fpemu.errors import ArgumentError

PLACE = "loss"


def cross_entropy(
    logits: Tensor,
    targets: object,
    *,
    weight: object = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The mean over the batch of -log softmax(logits)[target], in the policy's loss format.

    `logits` is (batch, classes), or (batch, classes, ...) with `targets`, integers, (batch, ...).
    The largest logit of each row is subtracted first; every operation is rounded, at places under
    ``loss/``. NaN or infinite logits give NaN. Raises `ArgumentError` for shapes or targets that do
    not fit.

    weight : one number per class; the mean is then weighted, too.
    ignore_index : rows with this target do not count; a mean of none is NaN.
    label_smoothing : the share, from 0 to 1, of the target that goes to all classes alike.

    >>> cross_entropy(np.zeros((2, 4)), [0, 3]).item()  # log 4 in FP32
    1.3862943649291992
    >>> cross_entropy(np.zeros((2, 4)), [0, -100], reduction="sum").item()
    1.3862943649291992
    """
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing must be from 0 to 1, got {label_smoothing!r}")
    options = {"ignore_index": ignore_index, "label_smoothing": float(label_smoothing)}
    return _of_classes(CROSS_ENTROPY, logits, targets, weight, reduction, options)


def nll_loss(
    input: Tensor,
    target: object,
    *,
    weight: object = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the batch of -input[target], where `input` holds logarithms of probabilities.

    Shapes, options and errors as `cross_entropy`.

    >>> nll_loss(np.float32([[-0.5, -1.0]]), [1]).item()
    1.0
    """
    return _of_classes(NLL, input, target, weight, reduction, {"ignore_index": ignore_index})


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: object,
    *,
    weight: object = None,
    pos_weight: object = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over all elements of -(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))).

    Formed without overflow, as ``(1 - t) * x - (min(x, 0) - log1p(exp(-|x|)))``. `target` has the
    shape of `input` and is data: it gets no gradient. `weight` and `pos_weight` (of the answer yes)
    broadcast to that shape. NaN gives NaN. Raises `ArgumentError` for shapes that do not fit.

    >>> binary_cross_entropy_with_logits(np.float32([0.0]), [1.0]).item()  # log 2 in FP32
    0.6931471824645996
    """
    return BINARY_CROSS_ENTROPY(
        input,
        place=PLACE,
        targets=np.asarray(target, np.float64),
        weight=weight,
        pos_weight=pos_weight,
        reduction=reduction,
    )


def mse_loss(input: Tensor, target: object, *, reduction: str = "mean") -> Tensor:
    """The mean of the squares of input - target, of one shape. NaN gives NaN.

    >>> mse_loss(np.float32([1, 2]), np.float32([1, 4])).item()
    2.0
    """
    return MSE(input, _tensor(target), place=PLACE, reduction=reduction)


def huber_loss(
    input: Tensor, target: object, *, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """The mean of d^2 / 2 where |d| <= delta and delta (|d| - delta / 2) elsewhere, d = input - target.

    >>> huber_loss(np.float32([1, 2]), np.float32([1, 4])).item()
    0.75
    """
    _positive("delta", delta)
    return HUBER(input, _tensor(target), place=PLACE, reduction=reduction, delta=delta)


def smooth_l1_loss(
    input: Tensor, target: object, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """The mean of d^2 / (2 beta) where |d| < beta and |d| - beta / 2 elsewhere, d = input - target.

    >>> smooth_l1_loss(np.float32([1, 2]), np.float32([1, 4])).item()
    0.75
    """
    _positive("beta", beta)
    return SMOOTH_L1(input, _tensor(target), place=PLACE, reduction=reduction, beta=beta)


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ArgumentError(f"{name} must be positive, got {value!r}")


def _tensor(target: object) -> Any:
    return target if isinstance(target, Tensor) else Tensor(np.asarray(target))


def _of_classes(
    operation: Operation,
    x: Any,
    targets: Any,
    weight: Any,
    reduction: str,
    options: dict[str, Any],
) -> Tensor:
    """A loss of rows; axes behind the classes become rows first, and come back."""
    x, targets = x if isinstance(x, Tensor) else Tensor(x), np.asarray(targets)
    behind = max(x.ndim - 2, 0)
    if targets.dtype.kind not in "iu" or targets.ndim != 1 + behind:
        raise ArgumentError(
            f"targets must be a {1 + behind}-d array of integers, got {targets.ndim}-d {targets.dtype}"
        )
    if behind:
        if targets.shape != (x.shape[0], *x.shape[2:]):
            raise ArgumentError(f"targets of shape {targets.shape} do not fit logits {x.shape}")
        x = x.permute(0, *range(2, x.ndim), 1).reshape(-1, x.shape[1])
    loss = operation(
        x, place=PLACE, targets=targets.reshape(-1), weight=weight, reduction=reduction, **options
    )
    return loss.reshape(targets.shape) if reduction == "none" and behind else loss
