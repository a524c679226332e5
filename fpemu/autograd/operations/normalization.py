"""Layer, RMS and group norm: the recipes of `fpemu.layer_norm` and `fpemu.rms_norm` with gradients.

Places: forward/normalize; forward/weight and forward/bias (the working copies), forward/affine;
forward/output; input_grad/normalize, weight_grad/sum, bias_grad/sum, and .../output of each. Every step is rounded
once to the format of inner steps A. Forward keeps n, the normalized rows, and r, their scales, both in
A: backward reads these.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.operations.recipes import handed_on, recipe, values_of
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.errors import ArgumentError
from fpemu.linalg.normalization import scale_of_squares, standardized
from fpemu.linalg.normalization_gradients import through_mean_and_scale, through_scale
from fpemu.linalg.steps import Steps, Values

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


def affine(steps: Steps, y: Values, beside: list[Values]) -> Values:
    """``y * weight + bias``, of which either may be missing; each rounded once."""
    for op, other in zip(("multiply", "add"), beside, strict=False):
        y = steps(op, y, other)
    return y


def working(site: Site, given: tuple[Array, ...]) -> list[Array]:
    """Weight and bias as the layer reads them."""
    names = ("forward/weight", "forward/bias")
    return [site.hand_on(p, "weights", w) for p, w in zip(given, names, strict=False)]


def input_gradient(
    site: Site, through: Any, g: Values, n: Values, r: Values, weight: Values | None
):
    """dx as rows, from rows of the gradient and of n; `weight` broadcasts against them."""
    with recipe(site, "input_grad/normalize") as steps:
        above = steps("multiply", g, weight) if weight else g
        return through(above, n, r, steps)


def parameter_gradients(
    site: Site, g: Values, n: Values, axis: int, shape: tuple[int, ...], needed: Needed
) -> list[Array | None]:
    """The gradients of weight and bias, of `shape`: sums along `axis`, by the model of inner sums."""
    grads: list[Array | None] = [None] * len(needed)
    for i, pass_ in enumerate(("weight_grad", "bias_grad")[: len(needed)]):
        if needed[i]:
            with recipe(site, f"{pass_}/sum") as steps:
                total = steps.total(steps("multiply", g, n) if i == 0 else g, axis)
            grads[i] = handed_on(site, total, "gradients", f"{pass_}/output", shape)
    return grads


# -- layer norm and RMS norm: over the last axes, which have the shape of weight and bias ---------


def _layer_norm(
    site: Site, x: Array, *given: Array, shape: tuple[int, ...], eps: float = 1e-5
) -> tuple[Array, Any]:
    rows = _rows_of(site, x, shape, given)
    with recipe(site, "forward/normalize") as steps:
        d, r = standardized(rows, eps, steps)
        n = steps("multiply", d, r)
    return _weighted(site, x, given, n, r, shape)


def _rms_norm(
    site: Site, x: Array, *given: Array, shape: tuple[int, ...], eps: float | None = None
) -> tuple[Array, Any]:
    rows = _rows_of(site, x, shape, given)
    with recipe(site, "forward/normalize") as steps:
        r = scale_of_squares(rows, eps, steps)
        n = steps("multiply", rows, r)
    return _weighted(site, x, given, n, r, shape)


def _rows_of(site: Site, x: Array, shape: tuple[int, ...], given: tuple[Array, ...]) -> Values:
    if not shape or x.ndim < len(shape) or x.shape[x.ndim - len(shape) :] != shape or not x.size:
        raise ArgumentError(
            f"{site.place}: a norm over {shape} takes inputs with elements whose last axes have this "
            f"shape, got {x.shape}"
        )
    _check(site, given, shape)
    return values_of(x, -1, math.prod(shape))


def _check(site: Site, given: tuple[Array, ...], shape: tuple[int, ...]) -> None:
    for p in given:
        if p.shape != shape:
            raise ArgumentError(
                f"{site.place}: weight and bias must have shape {shape}, got {p.shape}"
            )


def _weighted(site: Site, x: Array, given: Any, n: Values, r: Values, shape: tuple[int, ...]):
    beside = [values_of(p, 1, -1) for p in working(site, given)]
    with recipe(site, "forward/affine") as steps:
        y = affine(steps, n, beside)
    out = handed_on(site, y, "activations", "forward/output", x.shape)
    return out, (n, r, beside[:1], x.shape, shape)


def _rows_backward(through: Any) -> Any:
    def backward(site: Site, saved: Any, gradient: Array, needed: Needed) -> Gradients:
        n, r, weight, whole, shape = saved
        g, dx = values_of(gradient, *n[0].shape), None
        if needed[0]:
            rows = input_gradient(site, through, g, n, r, *(weight or [None]))
            dx = handed_on(site, rows, "gradients", "input_grad/output", whole)
        return (dx, *parameter_gradients(site, g, n, 0, shape, needed[1:]))

    return backward


LAYER_NORM = Operation("layer_norm", _layer_norm, _rows_backward(through_mean_and_scale))
RMS_NORM = Operation("rms_norm", _rms_norm, _rows_backward(through_scale))


# -- group norm: x is (N, C, ...); over the channels of a group and all that lies behind them -----


def _group_norm(
    site: Site, x: Array, *given: Array, groups: int, eps: float = 1e-5
) -> tuple[Array, Any]:
    if x.ndim < 2 or x.shape[1] % groups or not x.size:
        raise ArgumentError(
            f"{site.place}: group_norm takes inputs of shape (N, C, ...) with elements and C divisible "
            f"by {groups}, got {x.shape}"
        )
    _check(site, given, x.shape[1:2])
    whole = (*x.shape[:2], math.prod(x.shape[2:]))
    with recipe(site, "forward/normalize") as steps:
        d, r = standardized(values_of(x, x.shape[0] * groups, -1), eps, steps)
        n = steps("multiply", d, r)
    beside = [values_of(p, 1, -1, 1) for p in working(site, given)]
    with recipe(site, "forward/affine") as steps:
        y = affine(steps, _viewed(n, *whole), beside)
    out = handed_on(site, y, "activations", "forward/output", x.shape)
    return out, (n, r, beside[:1], whole, x.shape)


def _group_norm_backward(site: Site, saved: Any, gradient: Array, needed: Needed) -> Gradients:
    n, r, weight, whole, shape = saved
    g, dx = values_of(gradient, *whole), None
    if needed[0]:
        rows = _viewed(g, *n[0].shape)
        spread = None
        if weight:
            (values, f), height = weight[0], whole[0]
            spread = _viewed(
                (np.repeat(np.broadcast_to(values, (1, *whole[1:])), height, 0), f), *n[0].shape
            )
        dx = input_gradient(site, through_mean_and_scale, rows, n, r, spread)
        dx = handed_on(site, dx, "gradients", "input_grad/output", shape)
    gc, nc = _by_channel(g, whole), _by_channel(n, whole)
    return (dx, *parameter_gradients(site, gc, nc, 1, whole[1:2], needed[1:]))


def _viewed(x: Values, *shape: int) -> Values:
    return x[0].reshape(shape), x[1]


def _by_channel(x: Values, whole: tuple[int, ...]) -> Values:
    """(N, C, S) as (C, N S)."""
    return np.moveaxis(x[0].reshape(whole), 1, 0).reshape(whole[1], -1), x[1]


GROUP_NORM = Operation("group_norm", _group_norm, _group_norm_backward)

TABLE = (LAYER_NORM, RMS_NORM, GROUP_NORM)
