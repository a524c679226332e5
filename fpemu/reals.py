"""Numbers of any size: a float where a float holds them, else a Fraction; zeros have a sign.

Almost every format lies inside float64. A few do not (P3109's binary15p1ue reaches 2**16382), and
for them Python's functions of floats would overflow; these here take both.
"""

from __future__ import annotations

import math
from fractions import Fraction

Number = int | float | Fraction
Real = float | Fraction


def scaled(n: int, exponent: int) -> Real:
    """n * 2**exponent.

    >>> scaled(3, -1), scaled(1, 1024) == 2**1024
    (1.5, True)
    """
    if abs(exponent) < 900 and abs(n) < 1 << 53:
        return math.ldexp(n, exponent)
    return real(n * Fraction(2) ** exponent)


def real(x: Number) -> Real:
    """`x` as a float if that is exact, else as a Fraction."""
    if isinstance(x, float):
        return x
    try:
        near = float(x)
    except OverflowError:
        return Fraction(x)
    return near if near == x else Fraction(x)


def is_nan(x: Number) -> bool:
    """Whether `x` is NaN, which only a float can be."""
    return isinstance(x, float) and math.isnan(x)


def is_infinite(x: Number) -> bool:
    """Whether `x` is an infinity, which only a float can be."""
    return isinstance(x, float) and math.isinf(x)


def is_finite(x: Number) -> bool:
    """Neither NaN nor an infinity."""
    return not isinstance(x, float) or math.isfinite(x)


def is_negative(x: Number) -> bool:
    """Whether the sign of `x` is minus, as that of -0.0 is."""
    return math.copysign(1.0, x) < 0 if isinstance(x, float) else x < 0


def sign_of(x: Number) -> float:
    """1.0 or -1.0, also for zeros."""
    return -1.0 if is_negative(x) else 1.0


def size_of(x: Real) -> Real:
    """The magnitude of `x`."""
    return -x if is_negative(x) else x


def with_sign_of(magnitude: Real, x: Number) -> Real:
    """`magnitude` with the sign of `x`; NaN stays as it is."""
    return -magnitude if is_negative(x) and not is_nan(magnitude) else magnitude


def written(x: Number) -> str:
    """`x` as Python would print it, or in powers of two where that would not end.

    >>> written(0.5), written(-3 * Fraction(2) ** 4999)
    ('0.5', '-3*2**4999')
    """
    if not isinstance(x, Fraction):
        return repr(x)
    n, d = x.as_integer_ratio()
    twos = (n & -n).bit_length() - d.bit_length()
    if d & (d - 1) or abs(twos) < 64:
        return str(x)
    return f"{n >> max(twos, 0)}*2**{twos}".replace("-1*", "-").removeprefix("1*")
