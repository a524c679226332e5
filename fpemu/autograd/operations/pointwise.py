"""Operations on elements, forward beside backward.

Sums, differences, products and quotients of two tensors are rounded once, to the format in which
results are handed on. Functions are computed step by step in the format of inner steps and then handed
on; what is exact (ReLU, a change of sign) is not rounded at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


# -- a + b, a - b, a * b, a / b --------------------------------------------------------------------


def _binary(name: str) -> Callable[..., tuple[Array, Any]]:
    def forward(site: Site, a: Array, b: Array) -> tuple[Array, Any]:
        y = site.apply(name, a, b, role="activations", where="forward/output", result=True)
        return y, (a, b)

    return forward


def _graded(site: Site, op: str, *operands: Array, where: str) -> Array:
    """One operation, whose result is a gradient."""
    return site.apply(op, *operands, role="gradients", where=where, result=True)


def _add_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    a, b = saved
    to_a = to_b = None
    if needed[0]:
        to_a = site.summed_to(g, a.shape, "input_grad/left")
    if needed[1]:
        to_b = site.summed_to(g, b.shape, "input_grad/right")
    return to_a, to_b


def _subtract_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    return _add_backward(site, saved, g, (needed[0], False))[0], (
        site.summed_to(_negated(g), saved[1].shape, "input_grad/right") if needed[1] else None
    )


def _multiply_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    a, b = saved
    to_a = to_b = None
    if needed[0]:
        to_a = _graded(site, "multiply", g, b, where="input_grad/left")
        to_a = site.summed_to(to_a, a.shape, "input_grad/left")
    if needed[1]:
        to_b = _graded(site, "multiply", g, a, where="input_grad/right")
        to_b = site.summed_to(to_b, b.shape, "input_grad/right")
    return to_a, to_b


def _divide_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    a, b = saved
    to_a = to_b = None
    if needed[0]:
        to_a = _graded(site, "divide", g, b, where="input_grad/left")
        to_a = site.summed_to(to_a, a.shape, "input_grad/left")
    if needed[1]:
        # -(a / b) / b * g, as PyTorch has it
        inner = inner_steps(site, "input_grad/right")
        ratio = inner("divide", inner("divide", a, b), b)
        to_b = site.hand_on(inner("multiply", _negated(g), ratio), "gradients", "input_grad/right")
        to_b = site.summed_to(to_b, b.shape, "input_grad/right")
    return to_a, to_b


def inner_steps(site: Site, where: str) -> Callable[..., Array]:
    """Steps of a recipe, each rounded once to the format of inner steps, all counted at `where`."""

    def step(op: str, *operands: Array) -> Array:
        if len(operands) == 1:
            operands = (site.cast(operands[0], "inner", where),)
        return site.apply(op, *operands, role="inner", where=where)

    return step


def _negated(x: Array) -> Array:
    return Array(-x._values, x.format)


ADD = Operation("add", _binary("add"), _add_backward)
SUBTRACT = Operation("subtract", _binary("subtract"), _subtract_backward)
MULTIPLY = Operation("multiply", _binary("multiply"), _multiply_backward)
DIVIDE = Operation("divide", _binary("divide"), _divide_backward)


# -- negate and ReLU: exact, so nothing is rounded --------------------------------------------------


def _negate(site: Site, x: Array) -> tuple[Array, Any]:
    return _negated(x), None


def _negate_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    return (_negated(g),)


NEGATE = Operation("negate", _negate, _negate_backward)


def _relu(site: Site, x: Array) -> tuple[Array, Any]:
    passes = ~(x._values <= 0)  # the gradient of NaN goes on, as in PyTorch
    if x._values.dtype == object:
        values = np.where(x._values <= 0, 0.0, x._values)
    else:
        # NaN passes through, -0 does not
        values = np.maximum(x._values, 0) + x._values.dtype.type(0)
    return Array(values, x.format), passes


def _relu_backward(site: Site, passes: np.ndarray, gradient: Array, needed: Needed) -> Gradients:
    return (Array(kept_where(passes, gradient._values), gradient.format),)


def kept_where(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` where `mask` says, +0 elsewhere: by their bits, a tenth of the time of `numpy.where`."""
    if values.dtype == object:
        return np.where(mask, values, 0.0)
    bits = np.dtype(f"i{values.itemsize}")
    return (values.view(bits) & -mask.astype(bits)).view(values.dtype)


RELU = Operation("relu", _relu, _relu_backward)


# -- functions whose derivative is known from the result y or the input x ---------------------------


def _function(
    name: str, derivative: Callable[[Callable[..., Array], Site, Array, Array, Array], Array]
) -> Operation:
    """The function `name`; ``derivative(step, site, g, x, y)`` gives the gradient of x in steps."""

    def forward(site: Site, x: Array) -> tuple[Array, Any]:
        y = inner_steps(site, f"forward/{name}")(name, x)
        return site.hand_on(y, "activations", "forward/output"), (x, y)

    def backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
        step = inner_steps(site, f"input_grad/{name}")
        return (site.hand_on(derivative(step, site, g, *saved), "gradients", "input_grad/output"),)

    return Operation(name, forward, backward)


def _one(site: Site) -> Array:
    return site.constant(1.0, "inner")


EXP = _function("exp", lambda step, site, g, x, y: step("multiply", g, y))
LOG = _function("log", lambda step, site, g, x, y: step("divide", g, x))
SQRT = _function(
    "sqrt",
    lambda step, site, g, x, y: step("divide", g, step("multiply", y, site.constant(2.0, "inner"))),
)
TANH = _function(
    "tanh",
    lambda step, site, g, x, y: step(
        "multiply", g, step("subtract", _one(site), step("multiply", y, y))
    ),
)
SIGMOID = _function(
    "sigmoid",
    lambda step, site, g, x, y: step(
        "multiply", step("multiply", g, step("subtract", _one(site), y)), y
    ),
)

TABLE = (ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, RELU, EXP, LOG, SQRT, TANH, SIGMOID)
