"""What users hand in, read without loss: arrays of any dtype, nested lists, exact numbers."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np

from fpemu import events
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import FP64, Format, format_of_dtype
from fpemu.reals import Number

_SHORT_INTEGERS = ("int1", "int2", "int4", "uint1", "uint2", "uint4")  # of ml_dtypes


def numbers_of(x: object) -> tuple[np.ndarray, Format]:
    """`x` as a float32, float64 or object array that loses nothing, and the format it came in.

    64-bit integers too large for float64 come back as they are; larger ones, Fractions, Decimals
    and long doubles as an object array of ints, floats and Fractions, which only the exact path
    takes.
    """
    own = getattr(x, "format", None)
    if isinstance(x, np.ma.MaskedArray):
        raise UnsupportedError("a masked array has no value where it is masked; fill it first")
    try:
        with events.inside():
            values = np.asarray(x)
        if values.dtype == np.float64 and not isinstance(x, (np.ndarray, np.generic)):
            values = _with_large_integers(x, values)
    except ValueError as error:  # rows of different lengths
        raise ArgumentError(f"cannot make an array of {x!r}: {error}") from None
    f = format_of_dtype(values.dtype)
    if f is not None:
        native = np.float64 if f == FP64 else np.float32
        return cast(values, native), own if isinstance(own, Format) else f
    if values.dtype.name in _SHORT_INTEGERS:
        values = values.astype(np.int8)
    if values.dtype.kind in "bui":
        as_float = values.astype(np.float64)
        if values.dtype.itemsize < 8 or not np.any(np.abs(as_float) >= 2.0**53):
            return as_float, FP64
        return values, FP64
    if values.dtype.kind == "f" or values.dtype == object:  # long doubles, and Python's numbers
        numbers = [_exact_number(v) for v in values.flat]
        listed = np.array([*numbers, None], object)[:-1].reshape(values.shape)
        return listed, own if isinstance(own, Format) else FP64
    raise UnsupportedError(
        f"cannot round values of dtype {values.dtype}; allowed: floats, integers, booleans, "
        "Fractions and Decimals (take real and imaginary parts of complex values yourself)"
    )


def integers_made_odd(values: np.ndarray) -> np.ndarray:
    """64-bit integers as float64 with an odd last bit where that is not exact, on the side where
    the integer lies: no later rounding to 51 bits or fewer can tell the difference."""
    near = values.astype(np.float64)
    # Back without overflow: 2**63 and 2**64, to which the largest are rounded, by half.
    half = (near * 0.5).astype(values.dtype)
    rest = (values >> 1).astype(values.dtype) - half  # half of what is missing, rounded down
    twice = rest * 2 + (values & 1).astype(values.dtype)
    error = np.where(np.abs(near) >= 2.0**53, twice.astype(np.int64), 0)  # below, all are exact
    bits = near.view(np.int64)
    toward_zero = (error < 0) == (near > 0)
    moved = np.where(toward_zero, bits - 1, bits + 1)
    return np.where((error != 0) & (bits & 1 == 0), moved, bits).view(np.float64)


def as_objects(values: np.ndarray) -> np.ndarray:
    """64-bit integers as Python's."""
    return np.array([*(int(v) for v in values.flat), None], object)[:-1].reshape(values.shape)


def cast(values: np.ndarray, dtype: object) -> np.ndarray:
    """A conversion that loses nothing; NumPy would warn about signalling NaNs."""
    with np.errstate(invalid="ignore"):
        return values.astype(dtype, copy=False)  # type: ignore[call-overload]


def _with_large_integers(x: object, values: np.ndarray) -> np.ndarray:
    """NumPy rounds the integers of a list that holds floats, too, to float64; take them as they
    are if any is large enough to lose bits."""
    if hasattr(x, "__array__") or not np.any(np.abs(values) >= 2.0**53):
        return values
    return np.asarray(x, object)


def _exact_number(v: object) -> Number:
    if isinstance(v, np.ndarray) and v.ndim == 0:
        v = v[()]
    if isinstance(v, float) or (isinstance(v, np.generic) and format_of_dtype(v.dtype)):
        return float(v)  # type: ignore[arg-type]
    if isinstance(v, (bool, int, np.integer, np.bool_)):
        return int(v)
    if isinstance(v, Fraction):
        return v
    if isinstance(v, (Decimal, np.longdouble)):
        special = not (v.is_finite() if isinstance(v, Decimal) else np.isfinite(v))
        if special or v == 0:
            return math.nan if isinstance(v, Decimal) and v.is_nan() else float(v)
        return Fraction(*v.as_integer_ratio())
    raise UnsupportedError(f"cannot round {v!r}; allowed: floats, integers, Fractions and Decimals")
