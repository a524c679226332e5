"""From the losses of elements to a loss, and back: what all losses share.

"none" keeps them; "sum" adds them in C order, every addition rounded in the format of the loss (from +0
on), or by the model that the policy gives for forward/loss_sum; "mean" divides that by their number,
one more rounding at forward/mean. Backward, the gradient is divided by the same number at
input_grad/scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.site import Site
from fpemu.errors import unknown

REDUCTIONS = ("mean", "sum", "none")


def loss_steps(site: Site, pass_: str) -> Callable[..., Array]:
    """``apply(op, *operands, where=)``: one operation rounded to the format of the loss."""

    def apply(op: str, *operands: Array, where: str) -> Array:
        return site.apply(op, *operands, role="loss", where=f"{pass_}/{where}")

    return apply


def loss_total(site: Site, x: Array, where: str) -> Array:
    """The sum of all elements in C order; counted at `where`."""
    return columns_total(site, x.reshape(-1, 1), where).reshape(())


def columns_total(site: Site, x: Array, where: str) -> Array:
    """The sums of the columns of a matrix."""
    rule = site.rule("loss", where)
    return site.columns_added(x._values, x.format, rule, "loss", where)


def reduced(site: Site, losses: Array, reduction: str, count: Array | None = None) -> Array:
    """The loss; `count` is by what "mean" divides, by default the number of losses."""
    if reduction not in REDUCTIONS:
        raise unknown("reduction", reduction, REDUCTIONS)
    if reduction == "none":
        return losses
    total = loss_total(site, losses, "forward/loss_sum")
    if reduction == "sum":
        return total
    count = site.constant(losses.size, "loss") if count is None else count
    return site.apply("divide", total, count, role="loss", where="forward/mean").reshape(())


def factor_of(site: Site, gradient: Array, reduction: str, count: Any) -> Array:
    """The gradient of each loss, in the format of the loss: a scalar, or of the shape of the losses.

    `count` is a number, or an Array as in `reduced`.
    """
    factor = site.cast(gradient, "loss", "input_grad/scale")
    if reduction != "mean":
        return factor
    number = count if isinstance(count, Array) else site.constant(count, "loss")
    return site.apply("divide", factor, number, role="loss", where="input_grad/scale")


def chosen(x: Array, where: np.ndarray) -> Array:
    """The elements where a mask is true."""
    return Array(np.ascontiguousarray(x._values[where]), x.format)


def merged(mask: np.ndarray, inside: Array, outside: Array) -> Array:
    """The elements of two pieces, made by `chosen` with a mask and its opposite, in their places."""
    values = np.empty(mask.shape, inside._values.dtype)
    values[mask], values[~mask] = inside._values, outside._values
    return Array(values, inside.format)
