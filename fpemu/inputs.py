"""What users hand in, read without loss: arrays of any dtype, nested lists, exact numbers."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np

from fpemu import exact
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import FP64, Format, format_of_dtype


def numbers_of(x: object) -> tuple[np.ndarray, Format]:
    """`x` as a float32, float64 or object array that loses nothing, and the format it came in.

    Integers too large for float64, Fractions, Decimals and long doubles come back as an object
    array of ints, floats and Fractions, which only the exact path takes.
    """
    own = getattr(x, "format", None)
    try:
        values = np.asarray(x)
        if values.dtype == np.float64 and not isinstance(x, (np.ndarray, np.generic)):
            values = _with_large_integers(x, values)
    except ValueError as error:  # rows of different lengths
        raise ArgumentError(f"cannot make an array of {x!r}: {error}") from None
    f = format_of_dtype(values.dtype)
    if f is not None:
        native = np.float64 if f == FP64 else np.float32
        return cast(values, native), own if isinstance(own, Format) else f
    if values.dtype.kind in "bui":
        as_float = values.astype(np.float64)
        if values.dtype.itemsize < 8 or not np.any(np.abs(as_float) >= 2.0**53):
            return as_float, FP64
        return np.array([int(v) for v in values.flat], object).reshape(values.shape), FP64
    if values.dtype.kind == "f" or values.dtype == object:  # long doubles, and Python's numbers
        numbers = [_exact_number(v) for v in values.flat]
        return np.array([*numbers, None], object)[:-1].reshape(values.shape), FP64
    raise UnsupportedError(
        f"cannot round values of dtype {values.dtype}; allowed: floats, integers, booleans, "
        "Fractions and Decimals (take real and imaginary parts of complex values yourself)"
    )


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


def _exact_number(v: object) -> exact.Number:
    if isinstance(v, (float, np.float16, np.float32)):
        return float(v)
    if isinstance(v, (bool, int, np.integer)):
        return int(v)
    if isinstance(v, Fraction):
        return v
    if isinstance(v, (Decimal, np.longdouble)):
        special = not (v.is_finite() if isinstance(v, Decimal) else np.isfinite(v))
        if special or v == 0:
            return float(v)
        return Fraction(*v.as_integer_ratio())
    raise UnsupportedError(f"cannot round {v!r}; allowed: floats, integers, Fractions and Decimals")
