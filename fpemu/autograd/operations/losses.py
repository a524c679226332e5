"""Losses of classification: every step rounded in the format of the loss.

Source of the formulas: `torch.nn.functional.cross_entropy` and `nll_loss`, whose options these are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.operations.reduction import (
    columns_total,
    factor_of,
    loss_steps,
    loss_total,
    reduced,
)
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.errors import ArgumentError

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


class Targets(NamedTuple):
    """The class of each row, checked; 0 where the row is ignored."""

    classes: np.ndarray
    counted: np.ndarray  # which rows are not ignored
    weight: np.ndarray | None  # of each class

    @classmethod
    def of(cls, site: Site, name: str, x: Array, targets: Any, weight: Any, ignore: int) -> Targets:
        targets = np.asarray(targets)
        if x.ndim != 2 or targets.shape != x.shape[:1] or not x.size:
            raise ArgumentError(
                f"{site.place}: {name} takes logits of shape (batch, classes) and one target "
                f"per row, got {x.shape} and {targets.shape}"
            )
        counted = targets != ignore
        outside = counted & ((targets < 0) | (targets >= x.shape[1]))
        if outside.any():
            raise ArgumentError(
                f"{site.place}: target {targets[outside][0]} is out of range; allowed: 0 to "
                f"{x.shape[1] - 1}"
            )
        if weight is not None:
            weight = np.asarray(weight, np.float64)
            if weight.shape != x.shape[1:]:
                raise ArgumentError(
                    f"{site.place}: {name} takes one weight per class, shape {x.shape[1:]}, got "
                    f"{weight.shape}"
                )
        return cls(np.where(counted, targets, 0), counted, weight)

    def of_rows(self, site: Site) -> Array | None:
        """The weight of each row's class, as a column; 0 of ignored rows; None where all are 1."""
        if self.weight is None and self.counted.all():
            return None
        own = 1.0 if self.weight is None else self.weight[self.classes]
        return site.constant(np.where(self.counted, own, 0.0)[:, None], "loss")

    def total(self, site: Site, weights: Array | None) -> Array:
        """By what the mean divides: the number of rows that count, or the sum of their weights."""
        if self.weight is None or weights is None:
            return site.constant(int(np.count_nonzero(self.counted)), "loss")
        return loss_total(site, weights, "forward/weight_sum")

    def at(self, x: Array) -> Array:
        """The element of each row's class, as a column."""
        return Array(x._values[np.arange(len(self.classes)), self.classes][:, None], x.format)


# -- cross-entropy: log(sum(exp(z))) - z[target], of each row -------------------------------------


def _cross_entropy(
    site: Site,
    logits: Array,
    *,
    targets: np.ndarray,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, Any]:
    known = Targets.of(site, "cross_entropy", logits, targets, weight, ignore_index)
    step = loss_steps(site, "forward")
    z = site.cast(logits, "loss", "forward/logits")
    largest = Array(z._values.max(axis=1, keepdims=True), z.format)
    shifted = step("subtract", z, largest, where="shift")
    exponentials = step("exp", shifted, where="exp")
    total = columns_total(site, exponentials.T, "forward/exp_sum").reshape(-1, 1)
    log = step("log", total, where="log")
    losses = step("subtract", log, known.at(shifted), where="loss")
    weights = known.of_rows(site)
    if weights is not None:
        losses = step("multiply", losses, weights, where="weighted")
    if label_smoothing:
        everything = _of_all_classes(site, known, step("subtract", log, shifted, where="all"))
        share = site.constant(label_smoothing / z.shape[1], "loss")
        losses = step(
            "add",
            step("multiply", losses, site.constant(1 - label_smoothing, "loss"), where="smooth"),
            step("multiply", everything, share, where="smooth"),
            where="smooth",
        )
    count = known.total(site, weights)
    loss = reduced(site, losses.reshape(-1), reduction, count)
    return loss, (exponentials, total, known, label_smoothing, reduction, count)


def _of_all_classes(site: Site, known: Targets, losses: Array) -> Array:
    """The sum over all classes of weight times loss, as a column; 0 of ignored rows."""
    values = losses.T
    if known.weight is not None:
        w = site.constant(known.weight[:, None], "loss")
        values = site.apply("multiply", values, w, role="loss", where="forward/all")
    total = columns_total(site, values, "forward/all_sum").reshape(-1, 1)
    return Array(np.where(known.counted[:, None], total._values, 0), total.format)


def _cross_entropy_backward(site: Site, saved: Any, gradient: Array, needed: Needed) -> Gradients:
    exponentials, total, known, smoothing, reduction, count = saved
    step = loss_steps(site, "input_grad")
    rows, classes = exponentials.shape
    probabilities = step("divide", exponentials, total, where="softmax")
    # The gradient is p * (sum of q) - q, with q what the loss gives to each class.
    weight = np.ones(classes) if known.weight is None else known.weight
    given = np.full((rows, classes), smoothing / classes) * weight
    given[np.arange(rows), known.classes] += (1 - smoothing) * weight[known.classes]
    given[~known.counted] = 0
    if known.weight is not None or not known.counted.all():
        sums = site.constant(given.sum(axis=1, keepdims=True), "loss")
        probabilities = step("multiply", probabilities, sums, where="weighted")
    error = step("subtract", probabilities, site.constant(given, "loss"), where="error")
    factor = factor_of(site, gradient, reduction, count)
    if reduction == "none":
        factor = factor.reshape(-1, 1)
    scaled = step("multiply", error, factor, where="scaled")
    return (site.hand_on(scaled, "gradients", "input_grad/output"),)


CROSS_ENTROPY = Operation("cross_entropy", _cross_entropy, _cross_entropy_backward)


# -- negative log likelihood: -x[target], of each row ----------------------------------------------


def _nll(
    site: Site,
    x: Array,
    *,
    targets: np.ndarray,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    known = Targets.of(site, "nll_loss", x, targets, weight, ignore_index)
    taken = known.at(site.cast(x, "loss", "forward/input"))
    losses, weights = Array(-taken._values, taken.format), known.of_rows(site)
    if weights is not None:
        losses = site.apply("multiply", losses, weights, role="loss", where="forward/weighted")
    count = known.total(site, weights)
    loss = reduced(site, losses.reshape(-1), reduction, count)
    return loss, (x.shape, known, weights, reduction, count)


def _nll_backward(site: Site, saved: Any, gradient: Array, needed: Needed) -> Gradients:
    shape, known, weights, reduction, count = saved
    factor = factor_of(site, gradient, reduction, count)
    pieces = Array(-np.broadcast_to(factor._values, shape[0]), factor.format)
    if weights is not None:
        pieces = site.apply(
            "multiply", pieces, weights.reshape(-1), role="loss", where="input_grad/weighted"
        )
    values = np.zeros(shape, pieces._values.dtype)
    values[np.arange(len(values)), known.classes] = pieces._values
    return (site.hand_on(Array(values, pieces.format), "gradients", "input_grad/output"),)


NLL = Operation("nll_loss", _nll, _nll_backward)

TABLE = (CROSS_ENTROPY, NLL)
