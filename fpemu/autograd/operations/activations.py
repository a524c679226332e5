"""Activation functions beyond `pointwise.py`, step by step as PyTorch writes them.

Scaling by a number and LeakyReLU are one product, rounded once, straight to the result's format. The absolute value is exact. Of
the others every step, left to right as written, is rounded to the format of inner steps, at forward/name
and input_grad/name, and the last result handed on at forward/output and input_grad/output. Constants
are rounded to that format, to nearest whatever the mode, and not counted.

gelu       a = x * sqrt(1/2);  h = 0.5 * (1 + erf(a));  y = x * h
           dx = g * (h + x * (exp(-0.5 * (x * x)) * sqrt(1/(2 pi))))
gelu_tanh  u = c * (x + k * ((x * x) * x)), c = sqrt(2/pi), k = 0.044715;  t = tanh(u)
           y = (0.5 * x) * (1 + t)
           dx = g * (0.5 * (1 + t) + ((0.5 * x) * (1 - t * t)) * (c * (1 + 3 k * (x * x))))
silu       s = sigmoid(x);  y = x * s;  dx = g * (s * (1 + x * (1 - s)))
softplus   z = beta * x;  y = log1p(exp(z)) / beta, and x itself where z > threshold
           dx = g * sigmoid(z), and g itself there
power      y = x^p;  dx = g * (p * x^(p - 1))
Sources: Hendrycks and Gimpel 2016, "Gaussian error linear units"; Ramachandran, Zoph and Le 2017,
"Searching for activation functions".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.operations.pointwise import inner_steps
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]
Step = Callable[..., Array]
Number = Callable[[float], Array]


# -- one product, or none -------------------------------------------------------------------------


def _scale(site: Site, x: Array, *, factor: float) -> tuple[Array, Any]:
    number = site.constant(factor, "inner")
    return _scaled(site, x, number, "activations", "forward/output"), number


def _leaky_relu(site: Site, x: Array, *, negative_slope: float = 0.01) -> tuple[Array, Any]:
    slope = site.constant(negative_slope, "inner")
    factors = Array(np.where(x._values > 0, 1, slope._values), slope.format)
    return _scaled(site, x, factors, "activations", "forward/output"), factors


def _scaled_backward(site: Site, factors: Array, g: Array, needed: Needed) -> Gradients:
    return (_scaled(site, g, factors, "gradients", "input_grad/output"),)


def _scaled(site: Site, x: Array, factors: Array, role: str, where: str) -> Array:
    return site.apply("multiply", x, factors, role=role, where=where, result=True)


SCALE = Operation("scale", _scale, _scaled_backward)
LEAKY_RELU = Operation("leaky_relu", _leaky_relu, _scaled_backward)


def _absolute(site: Site, x: Array) -> tuple[Array, Any]:
    return Array(np.abs(x._values), x.format), np.sign(x._values)


def _absolute_backward(site: Site, sign: np.ndarray, g: Array, needed: Needed) -> Gradients:
    with np.errstate(invalid="ignore"):  # an infinity beside 0 has no gradient
        return (Array(np.asarray(g._values * sign), g.format),)


ABSOLUTE = Operation("absolute", _absolute, _absolute_backward)


# -- recipes --------------------------------------------------------------------------------------


def _recipe(
    name: str,
    forward: Callable[..., tuple[Array, Any]],
    backward: Callable[..., Array],
    read_rounded: bool = False,
) -> Operation:
    """``forward(step, number, x, **options)`` gives y and what backward needs beside x and options;
    ``backward(step, number, g, x, kept, **options)`` gives dx. With `read_rounded` x is first rounded
    to the format of inner steps, if that is another one."""

    def run(site: Site, x: Array, **options: Any) -> tuple[Array, Any]:
        step = inner_steps(site, f"forward/{name}")
        if read_rounded:
            x = site.cast(x, "inner", f"forward/{name}")
        y, kept = forward(step, lambda v: site.constant(v, "inner"), x, **options)
        return site.hand_on(y, "activations", "forward/output"), (x, kept, options)

    def back(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
        x, kept, options = saved
        step = inner_steps(site, f"input_grad/{name}")
        dx = backward(step, lambda v: site.constant(v, "inner"), g, x, kept, **options)
        return (site.hand_on(dx, "gradients", "input_grad/output"),)

    return Operation(name, run, back)


def _gelu(step: Step, number: Number, x: Array) -> tuple[Array, Array]:
    e = step("erf", step("multiply", x, number(math.sqrt(0.5))))
    h = step("multiply", number(0.5), step("add", number(1.0), e))
    return step("multiply", x, h), h


def _gelu_backward(step: Step, number: Number, g: Array, x: Array, h: Array) -> Array:
    bell = step("exp", step("multiply", number(-0.5), step("multiply", x, x)))
    density = step("multiply", bell, number(1 / math.sqrt(2 * math.pi)))
    return step("multiply", g, step("add", h, step("multiply", x, density)))


GELU = _recipe("gelu", _gelu, _gelu_backward)

_C, _K = math.sqrt(2 / math.pi), 0.044715


def _gelu_tanh(step: Step, number: Number, x: Array) -> tuple[Array, Array]:
    cube = step("multiply", step("multiply", x, x), x)
    u = step("multiply", number(_C), step("add", x, step("multiply", number(_K), cube)))
    t = step("tanh", u)
    half = step("multiply", number(0.5), x)
    return step("multiply", half, step("add", number(1.0), t)), t


def _gelu_tanh_backward(step: Step, number: Number, g: Array, x: Array, t: Array) -> Array:
    one = number(1.0)
    left = step("multiply", number(0.5), step("add", one, t))
    slope = step("subtract", one, step("multiply", t, t))
    right = step("multiply", step("multiply", number(0.5), x), slope)
    square = step("multiply", number(3 * _K), step("multiply", x, x))
    inner = step("multiply", number(_C), step("add", one, square))
    return step("multiply", g, step("add", left, step("multiply", right, inner)))


GELU_TANH = _recipe("gelu_tanh", _gelu_tanh, _gelu_tanh_backward)


def _silu(step: Step, number: Number, x: Array) -> tuple[Array, Array]:
    s = step("sigmoid", x)
    return step("multiply", x, s), s


def _silu_backward(step: Step, number: Number, g: Array, x: Array, s: Array) -> Array:
    one = number(1.0)
    rest = step("add", one, step("multiply", x, step("subtract", one, s)))
    return step("multiply", g, step("multiply", s, rest))


SILU = _recipe("silu", _silu, _silu_backward)


def _softplus(
    step: Step, number: Number, x: Array, beta: float = 1.0, threshold: float = 20.0
) -> tuple[Array, Any]:
    z = step("multiply", number(beta), x)
    straight = z._values > threshold
    curved = Array(np.where(straight, 0, z._values), z.format)
    y = step("divide", step("log1p", step("exp", curved)), number(beta))
    return Array(np.where(straight, x._values, y._values), y.format), (curved, straight)


def _softplus_backward(
    step: Step, number: Number, g: Array, x: Array, kept: Any, beta: float = 1.0, threshold=20.0
) -> Array:
    curved, straight = kept
    s = step("sigmoid", curved)
    return step("multiply", g, Array(np.where(straight, 1, s._values), s.format))


SOFTPLUS = _recipe("softplus", _softplus, _softplus_backward, read_rounded=True)


def _power(step: Step, number: Number, x: Array, *, exponent: float) -> tuple[Array, Any]:
    return step("power", x, number(exponent)), None


def _power_backward(step: Step, number: Number, g: Array, x: Array, kept: Any, *, exponent: float):
    slope = step("power", x, number(exponent - 1))
    return step("multiply", g, step("multiply", number(exponent), slope))


POWER = _recipe("power", _power, _power_backward, read_rounded=True)

TABLE = (SCALE, LEAKY_RELU, ABSOLUTE, GELU, GELU_TANH, SILU, SOFTPLUS, POWER)
