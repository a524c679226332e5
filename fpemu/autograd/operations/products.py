"""Products: their operands are cast by role, their sums accumulated by the policy's model."""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.casts import Operand
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.carriers import carrier_dtype
from fpemu.errors import ArgumentError

Needed = tuple[bool, ...]


# -- linear: y = x W^T + b, with x (..., in), W (out, in) and b (out,), which may be left out ------


def _linear(site: Site, x: Array, weight: Array, *bias: Array) -> tuple[Array, Any]:
    if x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ArgumentError(
            f"{site.place}: linear takes input of shape (batch, {weight.shape[1]}), got {x.shape}"
        )
    inputs = site.operand(x.reshape(-1, x.shape[-1]), "activations", "forward/input")
    weights = site.operand(weight, "weights", "forward/weight")
    y = site.products(inputs, weights.T, "forward")
    for given in bias:
        # The bias joins the sum last, as the epilogue of a matrix product does; no product reads it.
        y = add_bias(site, y, given)
    y = site.hand_on(y, "activations", "forward/output")
    return y.reshape((*x.shape[:-1], weight.shape[0])), (x, weight, inputs, weights)


def add_bias(site: Site, total: Array, bias: Array, shape: tuple[int, ...] | None = None) -> Array:
    """`total` and the bias, in this `shape` if one is given: one rounding in the format of `total`."""
    b = site.hand_on(bias, "weights", "forward/bias")
    b = site.cast_to(b, total.format, "accumulate", "forward/bias_cast")
    b = b if shape is None else b.reshape(shape)
    return site.apply("add", total, b, role="accumulate", where="forward/bias_add", f=total.format)


def _linear_backward(
    site: Site, saved: tuple[Array, Array, Operand, Operand], gradient: Array, needed: Needed
) -> tuple[Array | None, ...]:
    x, weight, inputs, weights = saved
    rows = gradient.reshape(-1, gradient.shape[-1])
    g = site.operand(rows, "gradients", "backward/output_grad")
    to_input = to_weight = to_bias = None
    if needed[0]:
        above = site.again(rows, g, "gradients", "input_grad/output_grad")
        below = site.again(weight, weights, "weights", "input_grad/weight")
        to_input = site.products(above, below, "input_grad")
        to_input = site.hand_on(to_input, "gradients", "input_grad/output").reshape(x.shape)
    if needed[1]:
        above = site.again(rows, g, "gradients", "weight_grad/output_grad")
        flat = x.reshape(-1, x.shape[-1])
        below = site.again(flat, inputs, "activations", "weight_grad/input")
        to_weight = site.products(above.T, below, "weight_grad")
        to_weight = site.hand_on(to_weight, "gradients", "weight_grad/output")
    if len(needed) == 2:
        return to_input, to_weight
    if needed[2]:
        to_bias = site.column_sums(g, "bias_grad")
        to_bias = site.hand_on(to_bias, "gradients", "bias_grad/output")
    return to_input, to_weight, to_bias


LINEAR = Operation("linear", _linear, _linear_backward)


# -- matmul: a @ b, with the axes before the last two broadcast ------------------------------------


def _matmul(site: Site, a: Array, b: Array) -> tuple[Array, Any]:
    if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
        raise ArgumentError(
            f"{site.place}: matmul takes shapes (..., m, k) and (..., k, n), got {a.shape} and {b.shape}"
        )
    left = site.operand(a, "activations", "forward/left")
    right = site.operand(b, "activations", "forward/right")
    y = _products(site, left, right, "forward")
    return site.hand_on(y, "activations", "forward/output"), (a, b, left, right)


def _matmul_backward(
    site: Site, saved: tuple[Array, Array, Operand, Operand], gradient: Array, needed: Needed
) -> tuple[Array | None, ...]:
    a, b, left, right = saved
    g = site.operand(gradient, "gradients", "backward/output_grad")
    to_left = to_right = None
    if needed[0]:
        above = site.again(gradient, g, "gradients", "left_grad/output_grad")
        other = site.again(b, right, "activations", "left_grad/right")
        to_left = _products(site, above, other.T, "left_grad")
        to_left = site.hand_on(to_left, "gradients", "left_grad/output")
        to_left = site.summed_to(to_left, a.shape, "left_grad/output")
    if needed[1]:
        above = site.again(gradient, g, "gradients", "right_grad/output_grad")
        other = site.again(a, left, "activations", "right_grad/left")
        to_right = _products(site, other.T, above, "right_grad")
        to_right = site.hand_on(to_right, "gradients", "right_grad/output")
        to_right = site.summed_to(to_right, b.shape, "right_grad/output")
    return to_left, to_right


def _products(site: Site, a: Operand, b: Operand, where: str) -> Array:
    """One product for each of the axes before the last two."""
    if a.array.ndim == b.array.ndim == 2:
        return site.products(a, b, where)
    x, y = a.array, b.array
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    left = np.broadcast_to(x._values, (*lead, *x.shape[-2:]))
    right = np.broadcast_to(y._values, (*lead, *y.shape[-2:]))
    out: np.ndarray | None = None
    f = None
    for i in np.ndindex(*lead):
        one = site.products(
            Operand(Array(left[i], x.format), a.exponent),
            Operand(Array(right[i], y.format), b.exponent),
            where,
        )
        if out is None:
            f = one.format
            out = np.empty((*lead, x.shape[-2], y.shape[-1]), carrier_dtype(f))
        out[i] = one._values
    if out is None or f is None:
        f = site.rule("accumulate", f"{where}/accumulate").format
        out = np.empty((*lead, x.shape[-2], y.shape[-1]), carrier_dtype(f))
    return Array(out, f)


MATMUL = Operation("matmul", _matmul, _matmul_backward)

TABLE = (LINEAR, MATMUL)
