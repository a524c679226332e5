"""`sum`, `dot` and `matmul` with every product and every partial sum rounded, in a named order.

In this version the order is "sequential": additions happen in the order of the index, starting
from +0 (or from `c`). Each product is rounded to the accumulator's format, then each sum, to nearest
even; of an `arithmetic` block around them they take the saturation, and refuse other modes.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping

import numpy as np

from fpemu import context, events, exact
from fpemu.arrays import Array, asarray
from fpemu.carriers import carrier_dtype, has_step32, has_step64, target_of
from fpemu.convert import round_to, watched
from fpemu.errors import ArgumentError, SlowWarning, UnsupportedError, unknown
from fpemu.formats import FP32, FP64, Format, as_format
from fpemu.reals import Real, is_finite, size_of

ORDERS = ("sequential",)


def sum(
    x: object,
    axis: int | None = None,
    *,
    accumulate: object = None,
    order: str = "sequential",
    out: object = None,
) -> Array:
    """The sum of the elements of `x` along `axis`, every partial sum rounded.

    Parameters
    ----------
    x : array_like; a plain NumPy array counts as an array of its dtype's format.
    axis : which axis to sum over; None for all elements in C order.
    accumulate : format of the accumulator, by default that of `x`. Elements that it cannot hold
        are first rounded to it, then added.
    order : "sequential": the accumulator starts at +0 and takes the elements by their index.
    out : format of the result, by default that of `x`; one final rounding.

    Returns an `Array` without `axis` (0-d for None). NaN, infinities and overflow as IEEE 754;
    the sum of nothing is +0, and of negative zeros too, because it starts at +0.
    Raises `ArgumentError` for an unknown format, order or axis.

    >>> ones = np.ones(4096, np.float16)
    >>> float(sum(ones)), float(sum(ones, accumulate="fp32"))
    (2048.0, 4096.0)
    """
    x = asarray(x)
    values = x._values.reshape(-1) if axis is None else np.moveaxis(x._values, _axis(axis, x), 0)
    terms = values.shape[0]
    columns = values.reshape(terms, math.prod(values.shape[1:]))
    accumulator = x.format if accumulate is None else as_format(accumulate)
    _check_order(order)
    saturation = _saturation_in_force()
    ones = np.ones((1, terms), columns.dtype)
    formats = (x.format, x.format, accumulator)
    result = accumulate_products(ones, columns, formats, saturation=saturation, op="sum")
    return _finish(result.reshape(values.shape[1:]), accumulator, x.format, out, saturation)


def matmul(
    a: object,
    b: object,
    c: object = None,
    *,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The matrix product ``c + a @ b``, every product and every partial sum rounded.

    Parameters
    ----------
    a, b : array_like of one format, shapes as `numpy.matmul` takes them: (..., m, k) and
        (..., k, n), or 1-d; leading axes broadcast.
    c : initial accumulator, array_like of the result's shape; rounded to the accumulator's
        format if it is wider. By default +0.
    accumulate : format of the accumulator, by default that of `a` and `b`.
    order : "sequential": k = 0, 1, 2, ...
    product : None: each product is rounded to the accumulator's format before it is added.
    out : format of the result, by default that of `a` and `b`; one final rounding.

    Returns an `Array`. NaN, infinities and overflow as IEEE 754 and the format's own rule.
    Raises `ArgumentError` for mixed formats, shapes that do not fit, unknown format or order.

    >>> a = np.ones((1, 4096), np.float16)
    >>> float(matmul(a, a.T)[0, 0]), float(matmul(a, a.T, accumulate="fp32")[0, 0])
    (2048.0, 4096.0)
    """
    a, b = asarray(a), asarray(b)
    if 0 in (a.ndim, b.ndim):
        raise ArgumentError("matmul takes arrays of at least one dimension; use * for scalars")
    if a.format != b.format:
        raise ArgumentError(
            f"matmul of {a.format.name} and {b.format.name}: operands must share a format; cast "
            f"one of them, for example b.astype({a.format.name!r})"
        )
    _check_order(order)
    accumulator = a.format if accumulate is None else as_format(accumulate)
    if product not in (None, accumulator, accumulator.name):
        raise ArgumentError(
            f"product {product!r} is not available in this version; allowed: None (rounded to the "
            "accumulator's format)"
        )
    saturation = _saturation_in_force()
    left, right, batch, tail = _as_matrices(a._values, b._values)
    shape = (*batch, *tail)
    if c is None:
        start = np.zeros(shape, carrier_dtype(accumulator))
    else:
        given = asarray(c)
        if given.shape != shape:
            raise ArgumentError(f"c must have the result's shape {shape}, got {given.shape}")
        start = given.astype(accumulator)._values
    formats = (a.format, b.format, accumulator)
    full = start.reshape(*batch, left.shape[-2], right.shape[-1])
    result = np.empty(full.shape, carrier_dtype(accumulator))
    for i in np.ndindex(batch):
        result[i] = accumulate_products(
            left[i], right[i], formats, full[i], saturation=saturation, op="matmul"
        )
    return _finish(result.reshape(shape), accumulator, a.format, out, saturation)


def dot(a: object, b: object, c: object = None, **options) -> Array:
    """The dot product of two vectors, or `matmul` for matrices; same options as `matmul`.

    >>> float(dot([1.0, 2.0], [3.0, 4.0]))
    11.0
    """
    a, b = asarray(a), asarray(b)
    if a.ndim > 2 or b.ndim > 2 or 0 in (a.ndim, b.ndim):
        raise ArgumentError(f"dot takes 1-d and 2-d operands, got {a.ndim}-d and {b.ndim}-d")
    return matmul(a, b, c, **options)


def accumulate_products(
    a: np.ndarray,
    b: np.ndarray,
    formats: tuple[Format, Format, Format],
    c: np.ndarray | None = None,
    *,
    saturation: str = "none",
    place: str = "",
    op: str = "matmul",
) -> np.ndarray:
    """``c + a @ b`` on carriers of shapes (m, k), (k, n) and (m, n): the work behind the above.

    `formats` are those of `a`, of `b` and of the accumulator, in whose carrier the result is.
    """
    accumulator = formats[2]
    shape = (a.shape[0], b.shape[1])
    start = np.zeros(shape, carrier_dtype(accumulator)) if c is None else c
    carrier = carrier_for(*formats, saturation)
    if carrier and not accumulator.has_nan and not (np.isfinite(a).all() and np.isfinite(b).all()):
        carrier = None  # what NaN becomes in a format without it, the reference knows
    if carrier is None:
        if a.shape[0] * a.shape[1] * b.shape[1] > 10_000:
            names = ", ".join(f.name for f in formats)
            warnings.warn(
                f"products of {names} run in the exact reference, some 20 microseconds each; FP64 "
                "operands are fast with FP64 accumulators only",
                SlowWarning,
                stacklevel=3,
            )
        return _by_reference(a, b, start, accumulator, saturation, place, op)
    from fpemu.kernels import matmul as kernels

    run = kernels.matmul32 if carrier == "float32" else kernels.matmul64
    counts = np.zeros(8, np.int64) if watched() else None
    result = np.array(start, carrier, order="C")
    left, right = (np.ascontiguousarray(v, carrier) for v in (a, b))
    run(left, right, result, target_of(accumulator, saturation, carrier=carrier), counts)
    if counts is not None:
        _record(place, op, accumulator, counts, kernels, saturation, result)
    return result.astype(carrier_dtype(accumulator), copy=False)


def carrier_for(fa: Format, fb: Format, f: Format, saturation: str = "none") -> str | None:
    """The carrier in which rounded multiply-adds are provably the same as exact ones, or None.

    A product of significands of p and q bits has at most p + q bits, so it is exact in a
    carrier of that many, inside the carrier's exponent range. Below float32's range (2**-149)
    it is still harmless if it is too short to reach from the halfway point of the target's
    smallest numbers down to the bits that float32 drops. A sum of two numbers of p bits may be
    rounded to 2p + 2 bits first (Figueroa 1995); a sum below the normal range is exact.
    """
    bits = fa.precision + fb.precision
    if f.fraction_bits == 0 or not all(g.fits_float64 for g in (fa, fb, f)):
        return None  # without a fraction, ties are decided by the exponent's last bit, which the kernels do not do
    if has_step32(f) and all(carrier_dtype(g) == np.float32 for g in (fa, fb, f)):
        lowest = fa.emin - fa.fraction_bits + fb.emin - fb.fraction_bits
        in_range = lowest >= -149 and fa.emax + fb.emax + 2 <= 127
        too_short_to_matter = (f.emin - f.fraction_bits - 1) + 150 + 1 > bits
        # An overflow in the carrier looks like an infinity: the same, unless they are told apart.
        same_overflow = f.has_inf and saturation != "propagate"
        product = bits <= 24 and (in_range or (too_short_to_matter and same_overflow))
        product = product and (f.emax < 127 or same_overflow)  # sums may overflow, too
        native = f == FP32 and fa.precision <= 24 and fb.precision <= 24 and same_overflow
        if native or (product and (2 * f.precision + 2 <= 24 or f == FP32)):
            return "float32"
    if f == FP64:
        return "float64" if saturation != "propagate" else None
    if has_step64(f) and bits <= 53 and 2 * f.precision + 2 <= 53:
        inside = all(g.emin - g.fraction_bits >= -149 and g.emax <= 127 for g in (fa, fb, f))
        return "float64" if inside else None
    return None


def _by_reference(a, b, start, f: Format, saturation: str, place: str, op: str) -> np.ndarray:
    """The same by `exact`: slow, for formats that no carrier is proven to serve."""
    out = start.astype(np.float64 if f.fits_float64 else object)
    counts: Counter[str] | None = Counter() if watched() else None
    for i, j in np.ndindex(out.shape):
        accumulator = start.item(i, j)
        for x, y in zip(a[i].tolist(), b[:, j].tolist(), strict=True):
            product = exact.multiply(x, y, f, saturation=saturation)
            total = exact.add(accumulator, product, f, saturation=saturation)
            if counts is not None:
                _count_exactly(counts, "multiply", x, y, product, f, saturation)
                _count_exactly(counts, "add", accumulator, product, total, f, saturation)
                finite = is_finite(accumulator) and is_finite(product)
                counts["swamped"] += finite and product != 0 and total == accumulator
            accumulator = total
        out[i, j] = accumulator
    if counts is not None:
        _tell(place, op, f, counts, out)
    return out.astype(carrier_dtype(f))


def _count_exactly(counts, kind, x: Real, y: Real, after: Real, f: Format, saturation) -> None:
    value, _ = exact.exact_result(kind, x, y)
    nonzero = value != 0
    counts["values"] += 1
    counts["nonzero"] += nonzero
    for name in exact.flags_of_operation(kind, x, y, f=f, saturation=saturation):
        counts[name] += 1
        if name == "overflow" and saturation != "none":
            counts["saturated"] += 1
    counts["flushed_to_zero"] += nonzero and after == 0
    counts["subnormal"] += 0 < size_of(after) < f.smallest_normal


def _record(
    place: str, op: str, f: Format, counts: np.ndarray, kernels, saturation: str, result: np.ndarray
) -> None:
    overflow = int(counts[kernels.OVERFLOW])
    _tell(
        place,
        op,
        f,
        {
            "values": int(counts[kernels.VALUES]),
            "nonzero": int(counts[kernels.NONZERO]),
            "inexact": int(counts[kernels.INEXACT]),
            "underflow": int(counts[kernels.UNDERFLOW]),
            "flushed_to_zero": int(counts[kernels.ZEROED]),
            "subnormal": int(counts[kernels.SUBNORMAL]),
            "overflow": overflow,
            "saturated": overflow if saturation != "none" else 0,
            "swamped": int(counts[kernels.SWAMPED]),
        },
        result,
    )


def _tell(place: str, op: str, f: Format, counts: Mapping[str, int], result: np.ndarray) -> None:
    """Tell the open traces and the `arithmetic` block."""
    events.record(place, op, f.name, counts, result)
    signalled = {name for name in exact.FLAGS if counts.get(name)}
    context.raise_flags(
        signalled, op, place, lambda trapped: f"in a product or partial sum in {f.name}"
    )


def _saturation_in_force() -> str:
    """The saturation of the `arithmetic` block around; its other settings must be the usual ones."""
    settings = context.current()
    if settings.rounding != "nearest_even" or settings.subnormals != "gradual":
        raise UnsupportedError(
            f"sums and products of arrays inside arithmetic(rounding={settings.rounding!r}, "
            f"subnormals={settings.subnormals!r}) are not supported in this version; allowed: "
            "'nearest_even' and 'gradual'"
        )
    return settings.saturation


def _finish(values: np.ndarray, f: Format, own: Format, out: object, saturation: str) -> Array:
    """The result in the format `out` (by default the operands' `own`), rounded once if needed."""
    final = own if out is None else as_format(out)
    if final == f:
        return Array(values, f)
    return Array(round_to(values, final, saturation, op="output"), final)


def _check_order(order: str) -> None:
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)


def _axis(axis: int, x: Array) -> int:
    if not isinstance(axis, (int, np.integer)) or not -x.ndim <= axis < x.ndim:
        raise ArgumentError(f"axis {axis!r} is out of range for an array of {x.ndim} dimensions")
    return int(axis) % x.ndim


def _as_matrices(a: np.ndarray, b: np.ndarray):
    """Operands as stacks of matrices that broadcast, the batch shape and the result's tail."""
    tail = (() if a.ndim == 1 else (a.shape[-2],)) + (() if b.ndim == 1 else (b.shape[-1],))
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ArgumentError(
            f"matmul of shapes {a.shape} and {b.shape}: the last axis of a ({left.shape[-1]}) "
            f"must equal the last but one of b ({right.shape[-2]})"
        )
    try:
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise ArgumentError(
            f"matmul of shapes {a.shape} and {b.shape}: leading axes do not broadcast"
        ) from None
    left = np.broadcast_to(left, (*batch, *left.shape[-2:]))
    right = np.broadcast_to(right, (*batch, *right.shape[-2:]))
    return left, right, batch, tail
