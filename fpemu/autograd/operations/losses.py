"""Losses: every step rounded in the format of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.errors import ArgumentError

Needed = tuple[bool, ...]


# -- cross-entropy: the mean over the batch of log(sum(exp(z))) - z[target] -----------------------


def _cross_entropy(site: Site, logits: Array, *, targets: np.ndarray) -> tuple[Array, Any]:
    rows = len(targets)
    if logits.ndim != 2 or logits.shape[0] != rows or rows == 0:
        raise ArgumentError(
            f"{site.place}: cross_entropy takes logits of shape (batch, classes) and one target "
            f"per row, got {logits.shape} and {targets.shape}"
        )
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        bad = targets[(targets < 0) | (targets >= logits.shape[1])][0]
        raise ArgumentError(
            f"{site.place}: target {bad} is out of range; allowed: 0 to {logits.shape[1] - 1}"
        )

    def apply(op: str, *operands: Array, where: str) -> Array:
        return site.apply(op, *operands, role="loss", where=f"forward/{where}")

    z = site.cast(logits, "loss", "forward/logits")
    largest = Array(z._values.max(axis=1, keepdims=True), z.format)
    shifted = apply("subtract", z, largest, where="shift")
    exponentials = apply("exp", shifted, where="exp")
    total = _running_sum(exponentials, apply, "exp_sum")
    losses = apply(
        "subtract",
        apply("log", total, where="log"),
        Array(shifted._values[np.arange(rows), targets][:, None], z.format),
        where="loss",
    )
    summed = _running_sum(losses.T, apply, "loss_sum")
    mean = apply("divide", summed, site.constant(rows, "loss"), where="mean")
    return mean.reshape(()), (exponentials, total, targets)


def _running_sum(x: Array, apply, where: str) -> Array:
    """The sum over the columns of a matrix from left to right, as a column."""
    total = x[:, :1]
    for j in range(1, x.shape[1]):
        total = apply("add", total, x[:, j : j + 1], where=where)
    return total


def _cross_entropy_backward(
    site: Site, saved: tuple[Array, Array, np.ndarray], gradient: Array, needed: Needed
) -> tuple[Array | None, ...]:
    exponentials, total, targets = saved
    rows = len(targets)

    def apply(op: str, *operands: Array, where: str) -> Array:
        return site.apply(op, *operands, role="loss", where=f"input_grad/{where}")

    probabilities = apply("divide", exponentials, total, where="softmax")
    one_hot = np.zeros(probabilities.shape, probabilities._values.dtype)
    one_hot[np.arange(rows), targets] = 1
    error = apply("subtract", probabilities, Array(one_hot, probabilities.format), where="error")
    factor = apply(
        "divide",
        site.cast(gradient, "loss", "input_grad/scale"),
        site.constant(rows, "loss"),
        where="scale",
    )
    scaled = apply("multiply", error, factor, where="scaled")
    return (site.hand_on(scaled, "gradients", "input_grad/output"),)


CROSS_ENTROPY = Operation("cross_entropy", _cross_entropy, _cross_entropy_backward)

TABLE = (CROSS_ENTROPY,)
