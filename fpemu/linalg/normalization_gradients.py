"""The gradients of `layer_norm` and `rms_norm`, step by step; A and K as there.

Nothing is kept from the forward pass: means and scales are computed again, by the same recipe.
"""

from __future__ import annotations

from collections.abc import Sequence

from fpemu.arrays import Array
from fpemu.linalg.normalization import Rows, scale_of_squares, standardized
from fpemu.linalg.options import model_of
from fpemu.linalg.steps import Steps, Values


def layer_norm_grad(
    x: object,
    normalized_shape: int | Sequence[int],
    grad_output: object,
    weight: object = None,
    eps: float = 1e-5,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> tuple[Array, Array, Array]:
    """The gradients of `layer_norm` with respect to x, weight and bias.

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    d, r    as `layer_norm`
    n       d * r, rounded to A
    g       grad_output * weight, rounded to A; without weight grad_output itself
    a       sum(g) by the accumulation model, then / K rounded to A
    b       g * n, rounded to A; sum of that by the model, then / K rounded to A
    u       g - a, rounded to A
    w       n * b, rounded to A
    dx      u - w, rounded to A; that times r, rounded to A
    dw      grad_output * n, rounded to A; sum of that over the rows by the model
    db      sum(grad_output) over the rows by the model
    ======  =====================================================================================

    and all three are rounded to `out`. Rows are the leading axes in C order.

    Parameters
    ----------
    x, normalized_shape, weight, eps : those of the forward pass.
    grad_output : array_like of the shape and format of `x`.
    accumulate, order, product, out : as `layer_norm`.

    Returns three `Array` s: of the shape of `x`, and twice of `normalized_shape` (also without weight
    or bias). NaN, infinities, overflow and errors as `layer_norm`; sums of no rows are +0.

    >>> import numpy as np
    >>> dx, dw, db = layer_norm_grad(np.float32([1.0, 3.0]), 2, np.float32([1.0, 0.0]), eps=0.0)
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([0.0, 0.0], [-1.0, 0.0], [1.0, 0.0])
    """
    beside = {"grad_output": grad_output, "weight": weight}
    rows = Rows.of("layer_norm_grad", x, normalized_shape, beside, eps)
    steps = Steps(model_of(accumulate, order, product, rows.x.format), "layer_norm_grad")
    given = rows.beside["grad_output"]
    if not rows.x.size:
        none = rows.finish(steps, None, out)
        return none, _over_rows(rows, steps, given, out), _over_rows(rows, steps, given, out)
    d, r = standardized(rows.values, rows.eps, steps)
    n = steps("multiply", d, r)
    dx = through_mean_and_scale(_weighted(rows, steps), n, r, steps)
    dw = _over_rows(rows, steps, steps("multiply", given, n), out)
    db = _over_rows(rows, steps, given, out)
    return rows.finish(steps, dx, out), dw, db


def rms_norm_grad(
    x: object,
    normalized_shape: int | Sequence[int],
    grad_output: object,
    weight: object = None,
    eps: float | None = None,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> tuple[Array, Array]:
    """The gradients of `rms_norm` with respect to x and weight.

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    r       as `rms_norm`
    n       x * r, rounded to A
    g       grad_output * weight, rounded to A; without weight grad_output itself
    b       g * n, rounded to A; sum of that by the accumulation model, then / K rounded to A
    w       n * b, rounded to A
    dx      g - w, rounded to A; that times r, rounded to A
    dw      grad_output * n, rounded to A; sum of that over the rows by the model
    ======  =====================================================================================

    and both are rounded to `out`. Parameters, rows and errors as `layer_norm_grad`. Returns two
    `Array` s, of the shape of `x` and of `normalized_shape` (also without weight).

    >>> import numpy as np
    >>> dx, dw = rms_norm_grad(np.float32([1.0, 1.0]), 2, np.float32([1.0, 0.0]), eps=0.0)
    >>> dx.tolist(), dw.tolist()
    ([0.5, -0.5], [1.0, 0.0])
    """
    beside = {"grad_output": grad_output, "weight": weight}
    rows = Rows.of("rms_norm_grad", x, normalized_shape, beside, eps)
    steps = Steps(model_of(accumulate, order, product, rows.x.format), "rms_norm_grad")
    given = rows.beside["grad_output"]
    if not rows.x.size:
        return rows.finish(steps, None, out), _over_rows(rows, steps, given, out)
    r = scale_of_squares(rows.values, rows.eps, steps)
    n = steps("multiply", rows.values, r)
    dx = through_scale(_weighted(rows, steps), n, r, steps)
    dw = _over_rows(rows, steps, steps("multiply", given, n), out)
    return rows.finish(steps, dx, out), dw


def through_mean_and_scale(g: Values, n: Values, r: Values, steps: Steps) -> Values:
    """a, b, u, w and dx of `layer_norm_grad`, for rows of `g` and `n`, which may have other formats."""
    a = steps.mean(g, 1)
    b = steps.mean(steps("multiply", g, n), 1)
    u = steps("subtract", g, a)
    w = steps("multiply", n, b)
    return steps("multiply", steps("subtract", u, w), r)


def through_scale(g: Values, n: Values, r: Values, steps: Steps) -> Values:
    """b, w and dx of `rms_norm_grad`, for rows of `g` and `n`, which may have other formats."""
    b = steps.mean(steps("multiply", g, n), 1)
    w = steps("multiply", n, b)
    return steps("multiply", steps("subtract", g, w), r)


def _weighted(rows: Rows, steps: Steps) -> Values:
    given = rows.beside["grad_output"]
    return steps("multiply", given, rows.beside["weight"]) if "weight" in rows.beside else given


def _over_rows(rows: Rows, steps: Steps, x: Values, out: object) -> Array:
    """The sum over the rows, in the shape of the weights."""
    values, f = steps.total(x, 0)
    return steps.finish((values.reshape(rows.shape), f), rows.x.format, out)
