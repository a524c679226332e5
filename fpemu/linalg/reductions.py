"""`sum`, `cumsum`, `mean`, `var` and `norm` along an axis, by an accumulation model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fpemu import elementwise
from fpemu.accumulation import Accumulator
from fpemu.accumulation import accumulate as run
from fpemu.accumulation.run import filled, running
from fpemu.arrays import Array, asarray
from fpemu.carriers import carrier_dtype
from fpemu.chance import Chance
from fpemu.errors import ArgumentError
from fpemu.formats import Format
from fpemu.linalg.options import COUNTS, axis_of, finish, model_of
from fpemu.linalg.steps import Steps


def sum(
    x: object,
    axis: int | None = None,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The sum of the elements of `x` along `axis`, every partial sum rounded.

    Parameters
    ----------
    x : array_like; a plain NumPy array counts as an array of its dtype's format.
    axis : which axis to sum over; None for all elements in C order.
    accumulate : format of the accumulator, by default that of `x`; or an `Accumulator`, or its text,
        which says all of this at once.
    order : in which order and how: "sequential", "pairwise", "blocked:64", "kahan", "neumaier",
        "exact", "permuted:7" ...; see `fpemu.accumulation.model`.
    product : how elements become terms: None, rounded to the accumulator's format; "exact", not at
        all, so that each step rounds once; or rounded to another format.
    out : format of the result, by default that of `x`; one final rounding.

    Returns an `Array` without `axis` (0-d for None). NaN, infinities and overflow as IEEE 754;
    the sum of nothing is +0, and of negative zeros too, because it starts at +0.
    Raises `ArgumentError` for an unknown format, order or axis.

    >>> ones = np.ones(4096, np.float16)
    >>> float(sum(ones)), float(sum(ones, accumulate="fp32")), float(sum(ones, order="pairwise"))
    (2048.0, 4096.0, 4096.0)
    """
    x = asarray(x)
    model = model_of(accumulate, order, product, x.format)
    return finish(_total(x, axis, model), model, x.format, out)


def _total(x: Array, axis: int | None, model: Accumulator, op: str = "sum") -> np.ndarray:
    columns, shape = _columns(x, axis)
    return run(None, columns, (x.format, x.format), model, op=op).reshape(shape)


def _columns(x: Array, axis: int | None) -> tuple[np.ndarray, tuple[int, ...]]:
    """The terms as columns, and the shape of the result."""
    values = x._values.reshape(-1) if axis is None else np.moveaxis(x._values, axis_of(axis, x), 0)
    return values.reshape(values.shape[0], math.prod(values.shape[1:])), values.shape[1:]


def cumsum(x: object, axis: int | None = None, **options: Any) -> Array:
    """All partial sums along `axis` (None: of all elements in C order), each rounded.

    `options` are those of `sum`; the order must be "sequential", without promotion. Each partial sum
    is rounded to `out`, too, but goes on as it was.

    >>> cumsum(np.float16([2048, 1, 1])).tolist()
    [2048.0, 2048.0, 2048.0]
    """
    x = asarray(x)
    out = options.pop("out", None)
    model = model_of(
        options.pop("accumulate", None),
        options.pop("order", "sequential"),
        options.pop("product", None),
        x.format,
    )
    if options:
        raise TypeError(f"cumsum got unexpected options {', '.join(options)}")
    if model.kind != "sequential" or model.promote or model.round_every:
        raise ArgumentError(f"cumsum takes plain sequential models, got {str(model)!r}")
    columns, shape = _columns(x, axis)
    partial = running(columns, x.format, model).reshape(len(columns), *shape)
    return finish(
        np.moveaxis(partial, 0, 0 if axis is None else axis_of(axis, x)), model, x.format, out
    )


def mean(x: object, axis: int | None = None, *, out: object = None, **options: Any) -> Array:
    """The sum by the accumulation model, divided by the number of terms, an exact integer: one more
    rounding to the accumulator's format, and one to `out` if that is another.

    `options` are those of `sum`. The mean of nothing is NaN.

    >>> mean(np.float16([1.0, 2.0, 4.0])).tolist()
    2.333984375
    """
    x = asarray(x)
    model = _model(options, x.format)
    count = x.size if axis is None else x.shape[axis_of(axis, x)]
    return finish(_divided(_total(x, axis, model), count, model), model, x.format, out)


def var(
    x: object, axis: int | None = None, *, ddof: int = 0, out: object = None, **options: Any
) -> Array:
    """The variance in two passes: the mean as `mean` gives it in the accumulator's format; the
    deviations from it, rounded to that format; the sum of their squares by the model; divided by the
    number of terms less `ddof`. With random rounding each of these steps draws its own numbers.

    `options` are those of `sum`. NaN if there are no more than `ddof` terms. Raises `ArgumentError` for
    an accumulator without zero or negative numbers.

    >>> var(np.float16([1.0, 2.0, 3.0, 4.0])).tolist()
    1.25
    """
    x = asarray(x)
    model = _model(options, x.format)
    columns, shape = _columns(x, axis)
    steps, terms = Steps(model, "var"), (columns, x.format)
    if len(columns) <= max(ddof, 0) and steps.format.has_nan:
        nothing = np.full(shape, np.nan, carrier_dtype(steps.format))
        return finish(nothing, model, x.format, out)
    deviations = steps("subtract", terms, steps.mean(terms, 0))
    squares = steps.total(deviations, 0, squares=True)
    count = np.full((), float(len(columns) - ddof))
    variance, f = steps("divide", squares, (count, COUNTS))
    return steps.finish((variance.reshape(shape), f), x.format, out)


def norm(x: object, axis: int | None = None, *, out: object = None, **options: Any) -> Array:
    """The square root of the sum of squares by the accumulation model, in the accumulator's format.

    `options` are those of `sum`. Squares overflow and underflow there as anywhere: nothing is scaled.

    >>> norm(np.float16([3.0, 4.0])).tolist(), norm(np.float16([300.0, 400.0])).tolist()
    (5.0, inf)
    """
    x = asarray(x)
    model = _model(options, x.format)
    columns, shape = _columns(x, axis)
    squares = _sum_of_squares(columns, x.format, model)
    f = model.result_format
    root = elementwise.apply("sqrt", squares, f=f, **_settings(model))
    return finish(root.reshape(shape), model, x.format, out)


def _sum_of_squares(columns: np.ndarray, f: Format, model: Accumulator) -> np.ndarray:
    return run(None, columns, (f, f), model, op="norm", squares=True)


def _divided(total: np.ndarray, count: int, model: Accumulator) -> np.ndarray:
    f = model.result_format
    if count <= 0 and f.has_nan:
        return np.full_like(total, np.nan)
    number = np.full((), float(count))
    return elementwise.apply_between("divide", (total, number), (f, COUNTS), f, **_settings(model))


def _model(options: dict[str, Any], own: Format) -> Accumulator:
    model = model_of(
        options.pop("accumulate", None),
        options.pop("order", "sequential"),
        options.pop("product", None),
        own,
    )
    if options:
        raise TypeError(f"unexpected options {', '.join(options)}; allowed: those of fp.sum")
    return model


def _settings(model: Accumulator) -> dict[str, Any]:
    now = filled(model)
    return {
        "rounding": now.rounding,
        "saturation": now.saturation,
        "subnormals": now.subnormals,
        "chance": Chance(now.seed or 0, now.random_bits or 24).derived(-2),
    }
