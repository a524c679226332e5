"""`softmax`, `log_softmax`, `logsumexp` and their gradients, step by step.

A is the format in which the accumulation model's sums end, by default that of the operands. Every
step below is rounded once to A, under the model's settings; the maximum is exact. Where A cannot hold
the operands, functions and sums read them rounded.

Source: Blanchard, Higham and Higham 2021, "Accurately computing the log-sum-exp and softmax
functions", with error bounds; the shift by the maximum as in PyTorch.
"""

from __future__ import annotations

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.carriers import carrier_dtype
from fpemu.linalg.options import axis_of, model_of
from fpemu.linalg.steps import Steps, Values, check_partner


def softmax(
    x: object,
    axis: int = -1,
    *,
    subtract_max: bool = True,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """exp(x) / sum(exp(x)) along `axis`.

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    m       max(x), exact; a zero is +0
    d       x - m, rounded to A
    e       exp(d), rounded to A
    s       sum(e) by the accumulation model
    y       e / s, rounded to A; then to `out`
    ======  =====================================================================================

    Parameters
    ----------
    x : array_like of any shape; a plain NumPy array counts as an array of its dtype's format.
    axis : an integer.
    subtract_max : False leaves m out: d is x (rounded to A if that is another format). exp then
        overflows early, in FP16 for x above 11.09, and inf / inf is NaN; below -17.33 every exp is 0 there,
        and 0 / 0 is NaN.
    accumulate, order, product, out : as `fpemu.sum`; `accumulate` decides A, too. With random rounding
        each step draws from a seed derived from the model's and the step's number.

    Returns an `Array` of the shape of `x`; without elements an empty one. A row that holds NaN or +inf,
    or -inf alone, is NaN, as in PyTorch; one -inf among others gives +0. Far below the maximum exp
    underflows: in FP16 e is subnormal for d below -9.7, and +0 below -17.33 (E4M3: below -6.93), so
    that the result is +0, too. In formats without infinity a d below the range becomes NaN or the
    largest value, as `saturation` says. exp is correctly rounded, in FP64 to within an ulp.
    Raises `ArgumentError` for an unknown axis, format or order, and if A has no zero or no negative
    numbers.

    >>> softmax(np.float16([0.0, 0.0, -20.0])).tolist()
    [0.5, 0.5, 0.0]
    >>> softmax(np.float16([12.0, 0.0])).tolist(), softmax(np.float16([12.0, 0.0]), subtract_max=False).tolist()
    ([1.0, 6.139278411865234e-06], [nan, 0.0])
    """
    x = asarray(x)
    steps = Steps(model_of(accumulate, order, product, x.format), "softmax")
    place = axis_of(axis, x)
    if not x.size:
        return steps.finish(_nothing(x, steps), x.format, out)
    _, e, s = _exponentials(x, place, steps, subtract_max)
    return steps.finish(steps("divide", e, s), x.format, out)


def log_softmax(
    x: object,
    axis: int = -1,
    *,
    subtract_max: bool = True,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The logarithm of `softmax`, without its underflow: m, d, e and s as there, then

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    l       log(s), rounded to A
    y       d - l, rounded to A; then to `out`
    ======  =====================================================================================

    Parameters, result, NaN, infinities and errors as `softmax`; one -inf among others gives -inf.
    Without `subtract_max`, l is infinite where exp overflows, and so is y.

    >>> log_softmax(np.float16([0.0, 0.0, -20.0])).tolist()
    [-0.693359375, -0.693359375, -20.6875]
    """
    x = asarray(x)
    steps = Steps(model_of(accumulate, order, product, x.format), "log_softmax")
    place = axis_of(axis, x)
    if not x.size:
        return steps.finish(_nothing(x, steps), x.format, out)
    d, _, s = _exponentials(x, place, steps, subtract_max)
    return steps.finish(steps("subtract", d, steps("log", s)), x.format, out)


def logsumexp(
    x: object,
    axis: int = -1,
    *,
    subtract_max: bool = True,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """log(sum(exp(x))) along `axis`: m, d, e, s and l as `log_softmax`, but m is +0 where the maximum
    is infinite, then

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    y       l + m, rounded to A; then to `out`
    ======  =====================================================================================

    Without `subtract_max` y is l. Parameters and errors as `softmax`. Returns an `Array` without
    `axis`. As in PyTorch, a row of nothing or of -inf alone gives log(+0), the infinity -inf (what a
    format without infinity makes of that: see `fpemu.quantize`), one with +inf gives +inf, and NaN
    gives NaN.

    >>> logsumexp(np.float16([[12.0, 12.0], [-np.inf, -np.inf]])).tolist()
    [12.6953125, -inf]
    >>> logsumexp(np.float16([12.0, 12.0]), subtract_max=False).tolist()
    inf
    """
    x = asarray(x)
    steps = Steps(model_of(accumulate, order, product, x.format), "logsumexp")
    place = axis_of(axis, x)
    m: Values | None = None
    if subtract_max:
        largest = _largest(x, place)
        m = np.where(np.abs(largest) == np.inf, 0.0, largest), x.format
    _, s = _summed(x, place, steps, m)[1:]
    y = steps("log", s)
    if m is not None:
        y = steps("add", y, m)
    return steps.finish((np.squeeze(y[0], place), y[1]), x.format, out)


def softmax_grad(
    y: object,
    grad_output: object,
    axis: int = -1,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The gradient of `softmax` with respect to x, from its result `y` and the gradient of that.

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    t       grad_output * y, rounded to A
    s       sum(t) by the accumulation model
    d       grad_output - s, rounded to A
    dx      y * d, rounded to A; then to `out`
    ======  =====================================================================================

    `y` and `grad_output` have one shape and one format; options, random bits and errors as `softmax`.
    Returns an `Array` of that shape. NaN and infinities as IEEE 754; where y has underflowed, so has
    the gradient.

    >>> y = softmax(np.float16([0.0, 0.0]))
    >>> softmax_grad(y, np.float16([1.0, 0.0])).tolist()
    [0.25, -0.25]
    """
    y, grad = asarray(y), asarray(grad_output)
    check_partner("softmax_grad", y, grad, y.shape, "grad_output")
    steps = Steps(model_of(accumulate, order, product, y.format), "softmax_grad")
    return steps.finish(softmax_gradient(y, grad, axis, steps), y.format, out)


def softmax_gradient(y: Array, grad: Array, axis: int, steps: Steps) -> Values:
    """dx of `softmax_grad` in A; `y` and `grad` may have different formats."""
    p, g = _carried(y), _carried(grad)
    s = steps.total(steps("multiply", g, p), axis_of(axis, y))
    return steps("multiply", p, steps("subtract", g, s))


def log_softmax_grad(
    y: object,
    grad_output: object,
    axis: int = -1,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The gradient of `log_softmax` with respect to x, from its result `y` and the gradient of that.

    ======  =====================================================================================
    step    what is computed
    ======  =====================================================================================
    s       sum(grad_output) by the accumulation model
    p       exp(y), rounded to A (y itself first, if A is another format)
    t       p * s, rounded to A
    dx      grad_output - t, rounded to A; then to `out`
    ======  =====================================================================================

    `y` and `grad_output` have one shape and one format; options, random bits and errors as `softmax`.
    Returns an `Array` of that shape. NaN and infinities as IEEE 754.

    >>> y = log_softmax(np.float16([0.0, 0.0]))
    >>> log_softmax_grad(y, np.float16([1.0, 0.0])).tolist()
    [0.5, -0.5]
    """
    y, grad = asarray(y), asarray(grad_output)
    check_partner("log_softmax_grad", y, grad, y.shape, "grad_output")
    steps = Steps(model_of(accumulate, order, product, y.format), "log_softmax_grad")
    return steps.finish(log_softmax_gradient(y, grad, axis, steps), y.format, out)


def log_softmax_gradient(y: Array, grad: Array, axis: int, steps: Steps) -> Values:
    """dx of `log_softmax_grad` in A; `y` and `grad` may have different formats."""
    g = _carried(grad)
    s = steps.total(g, axis_of(axis, y))
    p = steps("exp", _carried(y))
    return steps("subtract", g, steps("multiply", p, s))


# -- what they share ------------------------------------------------------------------------------


def _carried(x: Array) -> Values:
    return np.ascontiguousarray(x._values).reshape(x.shape), x.format


def _nothing(x: Array, steps: Steps) -> Values:
    return np.zeros(x.shape, carrier_dtype(steps.format)), steps.format


def _largest(x: Array, place: int) -> np.ndarray:
    """The maximum along an axis, which stays with length 1: NaN wins, zeros are +0, of nothing -inf."""
    values = x._values
    isnan = values != values  # (arrays of exact numbers have no isnan)
    largest = np.max(np.where(isnan, -np.inf, values), axis=place, keepdims=True, initial=-np.inf)
    largest = np.where(largest == 0, 0.0, largest)
    return np.where(np.any(isnan, axis=place, keepdims=True), np.nan, largest).astype(values.dtype)


def _exponentials(
    x: Array, place: int, steps: Steps, subtract_max: bool
) -> tuple[Values, Values, Values]:
    return _summed(x, place, steps, (_largest(x, place), x.format) if subtract_max else None)


def _summed(x: Array, place: int, steps: Steps, m: Values | None) -> tuple[Values, Values, Values]:
    """d, e and s of the recipes."""
    values = _carried(x)
    d = steps.converted(values) if m is None else steps("subtract", values, m)
    e = steps("exp", d)
    return d, e, steps.total(e, place)
