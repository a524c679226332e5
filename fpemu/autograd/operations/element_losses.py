"""Losses of elements: differences from targets, and of yes or no. Steps in the format of the loss.

With d = x - target, each step rounded once:

mse_loss         d * d
huber_loss       0.5 * (d * d) where |d| <= delta, else delta * (|d| - delta / 2)
smooth_l1_loss   (0.5 * (d * d)) / beta where |d| < beta, else |d| - beta / 2
binary_cross_entropy_with_logits
                 s = min(x, 0) - log1p(exp(-|x|)), the log of the sigmoid
                 (1 - target) * x - s * (1 + (pos_weight - 1) * target), the factor a rounded constant
                 and left out without pos_weight; times weight, if there is one

Constants (delta, 1 - target ...) are rounded to the format of the loss, to nearest, and not counted. Formulas and
options are PyTorch's.
Places: forward/input, forward/target, forward/difference, forward/loss, forward/weighted, then those of
`reduction.py`; input_grad/steps, input_grad/scale, input_grad/weighted, input_grad/output,
target_grad/output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.operations.reduction import chosen, factor_of, loss_steps, merged, reduced
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.errors import ArgumentError

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]
Step = Callable[..., Array]
Number = Callable[[Any], Array]


def _check(site: Site, name: str, x: Array, shape: tuple[int, ...]) -> None:
    if x.shape != shape or not x.size:
        raise ArgumentError(
            f"{site.place}: {name} takes inputs and targets of one shape with elements, got {x.shape} "
            f"and {shape}"
        )


# -- of the difference d ---------------------------------------------------------------------------


def _of_difference(name: str, loss: Callable[..., Array], slope: Callable[..., Array]) -> Operation:
    """The loss ``loss(step, number, d, **options)`` of each element, with its derivative `slope`."""

    def forward(
        site: Site, x: Array, target: Array, *, reduction: str = "mean", **options: Any
    ) -> tuple[Array, Any]:
        _check(site, name, x, target.shape)
        given = site.cast(x, "loss", "forward/input"), site.cast(target, "loss", "forward/target")
        step = loss_steps(site, "forward")
        d = step("subtract", *given, where="difference")
        losses = loss(_named(step, "loss"), lambda v: site.constant(v, "loss"), d, **options)
        return reduced(site, losses, reduction), (d, reduction, options)

    def backward(site: Site, saved: Any, gradient: Array, needed: Needed) -> Gradients:
        d, reduction, options = saved
        step = _named(loss_steps(site, "input_grad"), "steps")
        factor = factor_of(site, gradient, reduction, d.size)
        slopes = slope(step, lambda v: site.constant(v, "loss"), d, **options)
        dx = step("multiply", slopes, factor)
        back = Array(-dx._values, dx.format)
        return (
            site.hand_on(dx, "gradients", "input_grad/output") if needed[0] else None,
            site.hand_on(back, "gradients", "target_grad/output") if needed[1] else None,
        )

    return Operation(name, forward, backward)


def _named(step: Step, where: str) -> Step:
    return lambda op, *operands: step(op, *operands, where=where)


def _square(step: Step, number: Number, d: Array) -> Array:
    return step("multiply", d, d)


def _square_slope(step: Step, number: Number, d: Array) -> Array:
    return step("multiply", number(2.0), d)


MSE = _of_difference("mse_loss", _square, _square_slope)


def _pieces(
    d: Array, near: np.ndarray, inside: Callable[[Array], Array], outside: Callable[[Array], Array]
) -> Array:
    """`inside` of the elements that are `near`, `outside` of the others."""
    return merged(near, inside(chosen(d, near)), outside(chosen(d, ~near)))


def _size(x: Array) -> Array:
    return Array(np.abs(x._values), x.format)


def _signed(x: Array, size: Array) -> Array:
    return Array(np.asarray(np.copysign(size._values, x._values), x._values.dtype), x.format)


def _huber(step: Step, number: Number, d: Array, delta: float = 1.0) -> Array:
    return _pieces(
        d,
        np.abs(d._values) <= delta,
        lambda x: step("multiply", number(0.5), step("multiply", x, x)),
        lambda x: step("multiply", number(delta), step("subtract", _size(x), number(delta / 2))),
    )


def _huber_slope(step: Step, number: Number, d: Array, delta: float = 1.0) -> Array:
    near = np.abs(d._values) <= delta
    return _pieces(d, near, lambda x: x, lambda x: _signed(x, number(delta)))


HUBER = _of_difference("huber_loss", _huber, _huber_slope)


def _smooth(step: Step, number: Number, d: Array, beta: float = 1.0) -> Array:
    def inside(x: Array) -> Array:
        half = step("multiply", number(0.5), step("multiply", x, x))
        return step("divide", half, number(beta))

    return _pieces(
        d,
        np.abs(d._values) < beta,
        inside,
        lambda x: step("subtract", _size(x), number(beta / 2)),
    )


def _smooth_slope(step: Step, number: Number, d: Array, beta: float = 1.0) -> Array:
    near = np.abs(d._values) < beta
    return _pieces(
        d, near, lambda x: step("divide", x, number(beta)), lambda x: _signed(x, number(1.0))
    )


SMOOTH_L1 = _of_difference("smooth_l1_loss", _smooth, _smooth_slope)


# -- yes or no ------------------------------------------------------------------------------------


def _binary(
    site: Site,
    x: Array,
    *,
    targets: np.ndarray,
    weight: np.ndarray | None = None,
    pos_weight: np.ndarray | None = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    _check(site, "binary_cross_entropy_with_logits", x, np.shape(targets))
    step = _named(loss_steps(site, "forward"), "loss")
    z, t = site.cast(x, "loss", "forward/input"), np.asarray(targets, np.float64)
    factor = None
    if pos_weight is not None:
        factor = site.constant(1 + (np.asarray(pos_weight, np.float64) - 1) * t, "loss")
    no = site.constant(1 - t, "loss")
    below = Array(np.minimum(z._values, 0), z.format)
    small = step("exp", Array(-np.abs(z._values), z.format))
    sigmoid_log = step("subtract", below, step("log1p", small))
    if factor is not None:
        sigmoid_log = step("multiply", sigmoid_log, factor)
    losses = step("subtract", step("multiply", no, z), sigmoid_log)
    weights = None
    if weight is not None:
        weights = site.constant(np.broadcast_to(np.asarray(weight, np.float64), x.shape), "loss")
        losses = site.apply("multiply", losses, weights, role="loss", where="forward/weighted")
    return reduced(site, losses, reduction), (z, no, t, factor, weights, reduction)


def _binary_backward(site: Site, saved: Any, gradient: Array, needed: Needed) -> Gradients:
    """sigmoid(x) - target; with pos_weight (1 - target) - factor * sigmoid(-x)."""
    z, no, t, factor, weights, reduction = saved
    step = _named(loss_steps(site, "input_grad"), "steps")
    if factor is None:
        slopes = step("subtract", step("sigmoid", z), site.constant(t, "loss"))
    else:
        other = step("sigmoid", Array(-z._values, z.format))
        slopes = step("subtract", no, step("multiply", factor, other))
    scale = factor_of(site, gradient, reduction, z.size)
    if weights is not None:
        slopes = site.apply("multiply", slopes, weights, role="loss", where="input_grad/weighted")
    return (site.hand_on(step("multiply", slopes, scale), "gradients", "input_grad/output"),)


BINARY_CROSS_ENTROPY = Operation("binary_cross_entropy_with_logits", _binary, _binary_backward)

TABLE = (MSE, HUBER, SMOOTH_L1, BINARY_CROSS_ENTROPY)
