"""`layer_norm` and `rms_norm`, step by step.

A is the format in which the accumulation model's sums end, by default that of the operands. Every
step is rounded once to A, under the model's settings. K is the number of elements that are normalized
together, an exact integer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.carriers import carrier_dtype
from fpemu.errors import ArgumentError
from fpemu.linalg.options import model_of
from fpemu.linalg.steps import Steps, Values, check_partner


def layer_norm(
    x: object,
    normalized_shape: int | Sequence[int],
    weight: object = None,
    bias: object = None,
    eps: float = 1e-5,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and variance over the last axes.

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    mu      sum(x) by the accumulation model, then / K rounded to A
    d       x - mu, rounded to A
    v       sum(d * d) by the model, then / K rounded to A
    t       eps rounded to A, then v + that, rounded to A
    r       1 / sqrt(t), rounded to A (one rounding, as `fpemu.rsqrt`)
    n       d * r, rounded to A
    y       n * weight, rounded to A, if there is a weight; + bias, rounded to A, if there is one;
            then rounded to `out`
    ======  =====================================================================================

    Parameters
    ----------
    x : array_like whose last axes have `normalized_shape`, an integer or several.
    weight, bias : array_like of `normalized_shape`, of the format of `x`; None for none.
    eps : a number of at least 0.
    accumulate, order, product, out : as `fpemu.sum`; `accumulate` decides A, too. With random rounding
        each step draws from a seed derived from the model's and the step's number.

    Returns an `Array` of the shape of `x`. Rows with NaN or an infinity are NaN; of no elements the
    result is empty. What narrow formats do:

    - sum(d * d) overflows in FP16 from 65520 on, K = 256 deviations of 16; then r is +0, and all of n.
    - mu is rounded, and with it the partial sums: in E5M2 the mean of 3, 3, 3 is 2.5, and d not 0.
    - squares underflow: in FP16 those of deviations below 2**-12.5 are +0, and v counts them as such.
    - eps is rounded: 1e-5 is subnormal in FP16 (and read as +0 under "daz"), and +0 in E4M3. Where t
      is +0, r is an infinity (in E4M3, which has none, NaN or the largest value, as `saturation`
      says), and d = 0 times that is NaN: rows of equal elements. A trace counts the rounding of eps as
      it does any other, under "convert".

    Raises `ArgumentError` for shapes that do not fit, mixed formats, an unfit eps, format or order.
    Source: Ba, Kiros and Hinton 2016, "Layer normalization"; arguments of
    `torch.nn.functional.layer_norm`.

    >>> layer_norm(np.float16([1.0, 2.0, 3.0, 6.0]), 4).tolist()
    [-1.0693359375, -0.53466796875, 0.0, 1.603515625]
    >>> layer_norm(np.float16([300.0, -300.0]), 2).tolist()
    [0.0, -0.0]
    >>> layer_norm(np.float16([300.0, -300.0]), 2, accumulate="fp32").tolist()
    [1.0, -1.0]
    """
    rows = Rows.of("layer_norm", x, normalized_shape, {"weight": weight, "bias": bias}, eps)
    steps = Steps(model_of(accumulate, order, product, rows.x.format), "layer_norm")
    if not rows.x.size:
        return rows.finish(steps, None, out)
    d, r = standardized(rows.values, rows.eps, steps)
    y = steps("multiply", d, r)
    for op, name in (("multiply", "weight"), ("add", "bias")):
        if name in rows.beside:
            y = steps(op, y, rows.beside[name])
    return rows.finish(steps, y, out)


def rms_norm(
    x: object,
    normalized_shape: int | Sequence[int],
    weight: object = None,
    eps: float | None = None,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """x / sqrt(mean of squares + eps) * weight, the mean over the last axes.

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    v       sum(x * x) by the accumulation model, then / K rounded to A
    t       eps rounded to A, then v + that, rounded to A
    r       1 / sqrt(t), rounded to A (one rounding, as `fpemu.rsqrt`)
    n       x * r, rounded to A
    y       n * weight, rounded to A, if there is a weight; then rounded to `out`
    ======  =====================================================================================

    Parameters as `layer_norm`, without a bias; `eps` is by default the distance from 1 to the next
    number of A, as in PyTorch that of the format that it computes in. Returns an `Array` of the shape
    of `x`. NaN makes a row NaN; an infinity itself NaN, and +-0 of the finite elements beside it.
    Overflow of the sum of squares makes zeros of all, and what is said of eps and underflow in
    `layer_norm` holds here. Raises `ArgumentError` as `layer_norm`.
    Source: Zhang and Sennrich 2019, "Root mean square layer normalization"; arguments of
    `torch.nn.functional.rms_norm`.

    >>> rms_norm(np.float16([3.0, 4.0]), 2, eps=0.0).tolist()
    [0.8486328125, 1.1318359375]
    """
    rows = Rows.of("rms_norm", x, normalized_shape, {"weight": weight}, eps)
    steps = Steps(model_of(accumulate, order, product, rows.x.format), "rms_norm")
    if not rows.x.size:
        return rows.finish(steps, None, out)
    y = steps("multiply", rows.values, scale_of_squares(rows.values, rows.eps, steps))
    if "weight" in rows.beside:
        y = steps("multiply", y, rows.beside["weight"])
    return rows.finish(steps, y, out)


# -- what the gradients share ---------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """The operands, checked, as rows of what is normalized together."""

    x: Array
    values: Values  # x as rows
    beside: dict[str, Values]  # weight, bias: one row each; gradients: as x
    eps: float | None
    shape: tuple[int, ...]  # that is normalized together

    @classmethod
    def of(
        cls,
        name: str,
        x: object,
        normalized_shape: int | Sequence[int],
        beside: dict[str, object],
        eps: float | None,
    ) -> Rows:
        whole, shape = asarray(x), _shape_of(normalized_shape)
        if whole.shape[whole.ndim - len(shape) :] != shape or whole.ndim < len(shape):
            raise ArgumentError(
                f"{name} over {shape} takes arrays whose last axes have this shape, got {whole.shape}"
            )
        real = isinstance(eps, (int, float, np.integer, np.floating))
        fit = real and not isinstance(eps, bool) and 0 <= eps < math.inf  # type: ignore[operator]
        if not fit and not (eps is None and name.startswith("rms")):
            raise ArgumentError(f"eps must be a finite number of at least 0, got {eps!r}")
        width = math.prod(shape)
        height = math.prod(whole.shape[: whole.ndim - len(shape)])
        others = {}
        for what, given in beside.items():
            like_x = what == "grad_output"
            if given is None and not like_x:
                continue
            other = asarray(given)
            check_partner(name, whole, other, whole.shape if like_x else shape, what)
            other_values = other._values.reshape(height if like_x else 1, width)
            others[what] = (np.ascontiguousarray(other_values), other.format)
        values = np.ascontiguousarray(whole._values.reshape(height, width))
        number = None if eps is None else float(eps)
        return cls(whole, (values, whole.format), others, number, shape)

    def finish(self, steps: Steps, y: Values | None, out: object) -> Array:
        """Rows in the shape of x again, rounded to `out`; None where there are no elements."""
        y = y or (np.zeros(self.x.shape, carrier_dtype(steps.format)), steps.format)
        return steps.finish(y, self.x.format, out).reshape(self.x.shape)


def standardized(rows: Values, eps: float | None, steps: Steps) -> tuple[Values, Values]:
    """d and r of `layer_norm`."""
    mu = steps.mean(rows, 1)
    d = steps("subtract", rows, mu)
    return d, scale_of_squares(d, eps, steps)


def scale_of_squares(rows: Values, eps: float | None, steps: Steps) -> Values:
    """r of the recipes: the mean of the squares of each row, eps (None: that of A), and the root."""
    v = steps.mean(rows, 1, squares=True)
    return steps("rsqrt", steps("add", v, number_of(eps, steps)))


def number_of(eps: float | None, steps: Steps) -> Values:
    """eps, rounded to A; by default that of A."""
    return steps.number(float(steps.format.eps) if eps is None else eps)


def _shape_of(given: int | Sequence[int]) -> tuple[int, ...]:
    shape = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in shape)
    if not shape or not whole or min(shape) < 0:  # type: ignore[type-var]
        raise ArgumentError(
            f"normalized_shape must be an integer of at least 0, or several, got {given!r}"
        )
    return tuple(int(n) for n in shape)  # type: ignore[arg-type]
