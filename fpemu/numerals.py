"""Numbers as text and back, exactly: what was written, decimals, an integer times a power of two."""

from __future__ import annotations

import math
import re
from decimal import Context, Decimal
from fractions import Fraction
from numbers import Integral

import numpy as np

from fpemu import exact
from fpemu.errors import ArgumentError
from fpemu.formats import Format
from fpemu.reals import Number, Real, is_finite, is_negative, written


def parse_number(said: str) -> Number:
    """The exact value of a number as written: 0.1, 1e-7, 2^-25, 1/3, 0x1p-3, inf, nan.

    >>> parse_number("0.1")
    Fraction(1, 10)
    """
    clean = said.strip().lower().replace("_", "")
    try:
        if clean.lstrip("+-") in ("inf", "infinity", "nan"):
            return float(clean)
        if "0x" in clean:
            value = _hexadecimal(clean)
            return -0.0 if value == 0 and clean.startswith("-") else value
        base, power, exponent = clean.replace("**", "^").partition("^")
        if power and abs(int(exponent)) > 20000:
            raise ValueError(exponent)
        if "e" in clean and abs(int(clean.partition("e")[2])) > 20000:
            raise ValueError(clean)
        value = Fraction(base) ** int(exponent) if power else Fraction(clean)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ArgumentError(
            f"{said!r} is not a number; write for example 0.1, 1e-7, 2^-25, 1/3, 0x1p-3, inf or nan"
        ) from None
    return -0.0 if value == 0 and clean.startswith("-") else value


_HEXADECIMAL = re.compile(r"([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?\d{1,5}))?")


def _hexadecimal(clean: str) -> Fraction:
    """The exact value of C's hexadecimal notation; float.fromhex would round it."""
    match = _HEXADECIMAL.fullmatch(clean)
    if not match or not match[2] + match[3]:
        raise ValueError(clean)
    sign, whole, part, power = match.groups()
    exponent = int(power or 0)
    if abs(exponent) > 20000:
        raise ValueError(clean)
    magnitude = Fraction(int(whole + part, 16), 16 ** len(part)) * Fraction(2) ** exponent
    return -magnitude if sign == "-" else magnitude


def number_of(x: object, asker: str) -> Number:
    """The exact value of what a caller passed: a number of any kind, or its text.

    A string is the exact number that it says, a Python float the float64 that it is; Decimals,
    Fractions, integers and NumPy's scalars (long doubles too) keep their exact value. -0, NaN
    and infinities stay what they are. Raises `ArgumentError`, in which `asker` names itself, for
    anything else.

    >>> number_of("0.1", "show"), number_of(0.5, "show"), number_of(Decimal("-0"), "show")
    (Fraction(1, 10), 0.5, -0.0)
    """
    if isinstance(x, str):
        return parse_number(x)
    if isinstance(x, (int, float, Fraction)):
        return float(x) if isinstance(x, float) else x  # NumPy's float64 prints otherwise
    if isinstance(x, Decimal) and x.is_finite() and x and abs(x.adjusted()) > 20000:
        raise ArgumentError(f"{x} is out of range; allowed are numbers from 1e-20000 to 1e20000")
    try:
        if isinstance(x, Integral):  # NumPy's integers among others
            return int(x)
        near = float(x)  # type: ignore[arg-type]
        exact_ratio = getattr(x, "as_integer_ratio", near.as_integer_ratio)
        ratio = Fraction(*exact_ratio())
    except OverflowError:  # an infinity is no ratio
        return near
    except (TypeError, ValueError):
        if isinstance(x, (Decimal, np.floating)):
            return math.nan
        raise ArgumentError(f"{asker} takes one number or its text, got {x!r}") from None
    return near if ratio == near else ratio


def decimal(x: Number) -> str:
    """The exact decimal expansion of a number, in scientific form where it would be long.

    Fractions that no float64 holds come as `fpemu.reals.written` has them.

    >>> decimal(0.0999755859375), decimal(2.0**-24)
    ('0.0999755859375', '5.9604644775390625E-8')
    """
    if isinstance(x, Fraction) or not math.isfinite(x):
        return written(x)
    if x == 0:
        return "-0" if math.copysign(1, x) < 0 else "0"
    digits = Decimal(x).normalize(Context(prec=1200))
    if -5 <= digits.adjusted() < 21:
        return f"{digits:f}"
    return str(digits)


def integer_times_power(value: Real, f: Format) -> str | None:
    """A value of `f` as its significand, an integer, times a power of two; None for inf and NaN.

    The integer is the stored fraction with the leading 1 before it (without, below the smallest
    normal), so that it counts the last places. Zero counts none of the smallest: its sign stays.

    >>> from fpemu.formats import FP16
    >>> integer_times_power(0.0999755859375, FP16), integer_times_power(-0.0, FP16)
    ('1638*2**-14', '-0*2**-24')
    """
    if not is_finite(value):
        return None
    place = last_place(value, f)
    whole = abs(Fraction(value)) / Fraction(2) ** place
    return f"{'-' if is_negative(value) else ''}{whole}*2**{place}"


def last_place(value: Number, f: Format) -> int:
    """The exponent of the last place that `f` keeps of a finite `value`: ``2**place`` is one ulp.

    >>> from fpemu.formats import FP16
    >>> last_place(1.0, FP16), last_place(0.0, FP16)
    (-10, -24)
    """
    e = exact.floor_log2(abs(Fraction(value))) if value else f.emin
    return max(e, f.emin) - f.fraction_bits


def ulps(distance: Fraction, place: int) -> float:
    """`distance` in units of ``2**place`` as a float, an infinite one beyond float64.

    >>> ulps(Fraction(1, 3), -1)
    0.6666666666666666
    """
    exactly = distance / Fraction(2) ** place
    try:
        return float(exactly)
    except OverflowError:
        return math.inf if exactly > 0 else -math.inf
