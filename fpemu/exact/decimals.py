"""Shortest decimals: what Python's ``repr`` is for float64, for any format."""

from __future__ import annotations

import math
from fractions import Fraction

from fpemu.exact.rounding import floor_log2, round_to
from fpemu.formats import Format
from fpemu.reals import Real, is_finite, size_of


def shortest(value: Real, f: Format) -> str:
    """The shortest decimal that rounds to `value`, a value of `f`; the nearest one if tied.

    >>> from fpemu.formats import E4M3, FP16
    >>> shortest(0.0999755859375, FP16), shortest(448.0, E4M3)
    ('0.1', '450.0')
    """
    if not is_finite(value) or value == 0:
        return repr(value)
    wanted, magnitude = size_of(value), abs(Fraction(value))
    exponent = math.floor(floor_log2(magnitude) * math.log10(2))
    if Fraction(10) ** (exponent + 1) <= magnitude:
        exponent += 1
    for digits in range(1, 770):
        unit = Fraction(10) ** (exponent - digits + 1)
        below = magnitude // unit
        near_first = sorted((below, below + 1), key=lambda n: (abs(n * unit - magnitude), n % 2))
        for n in near_first:
            if n > 0 and round_to(n * unit, f) == wanted:
                return repr_decimal(int(n), exponent - digits + 1, negative=value < 0)
    raise AssertionError("every finite value has at most 767 digits")


def repr_decimal(n: int, exponent: int, *, negative: bool) -> str:
    """n * 10**exponent written as Python writes floats: 0.1, 448.0, 6e-08, 1e+16."""
    digits = str(n).rstrip("0")
    point = len(str(n)) + exponent  # decimal point after this many digits
    sign = "-" if negative else ""
    if -4 < point <= 16:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        padded = digits.ljust(point, "0")
        return f"{sign}{padded[:point]}.{padded[point:] or '0'}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+03d}"
