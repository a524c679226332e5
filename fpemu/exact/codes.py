"""Codes: the bit patterns of a format's values."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

from fpemu.errors import ArgumentError
from fpemu.exact.rounding import floor_log2, nan_of
from fpemu.formats import Format
from fpemu.reals import Real, is_infinite, is_nan, is_negative, scaled, size_of, written


def encode(value: Real, f: Format) -> int:
    """The code of `value`, which must be a value of `f`; NaN becomes `f.nan_code`.

    >>> from fpemu.formats import E4M3
    >>> hex(encode(-448.0, E4M3))
    '0xfe'
    """
    if is_nan(value):
        if f.nan_code is None:
            nan_of(f, "none")
        return f.nan_code  # type: ignore[return-value]
    if value < 0 and not f.signed:
        raise ArgumentError(f"{written(value)} is not a value of {f.name}, which has no sign")
    sign = is_negative(value) << (f.bits - 1)
    magnitude = size_of(value)
    if is_infinite(magnitude):
        if f.inf_code is None:
            raise ArgumentError(f"{value} is not a value of {f.name}")
        return sign | f.inf_code
    if magnitude == 0 and f.has_zero:
        return sign if f.has_negative_zero else 0
    exact = Fraction(magnitude)
    e = max(floor_log2(exact), f.emin) if exact else f.emin
    steps = exact / Fraction(2) ** (e - f.fraction_bits)
    if steps.denominator != 1 or exact > Fraction(f.max) or exact < Fraction(f.min):
        raise ArgumentError(f"{written(value)} is not a value of {f.name}; round it first")
    field = (e + f._bias) if steps >= 1 << f.fraction_bits else 0
    return sign | (field << f.fraction_bits) | (int(steps) & ((1 << f.fraction_bits) - 1))


def written_bits(value: Real, f: Format) -> str:
    """The code of `value` in bits, sign (if there is one), exponent and fraction apart.

    >>> from fpemu.formats import FP16
    >>> written_bits(1.5, FP16)
    '0 01111 1000000000'
    """
    bits = f"{encode(value, f):0{f.bits}b}"
    ends = (0, int(f.signed), int(f.signed) + f.exponent_bits, f.bits)
    fields = (bits[a:b] for a, b in itertools.pairwise(ends))
    return " ".join(field for field in fields if field)


def decode(code: int, f: Format) -> Real:
    """The value of `code`.

    >>> from fpemu.formats import FP16
    >>> decode(0x0001, FP16) == 2.0**-24
    True
    """
    if not 0 <= code < 1 << f.bits:
        raise ArgumentError(f"code {code} does not fit {f.name}: allowed 0 to {(1 << f.bits) - 1}")
    negative = f.signed and bool(code >> (f.bits - 1))
    magnitude = code - (1 << (f.bits - 1)) if negative else code
    if not f.has_negative_zero and negative and magnitude == 0:
        return math.nan
    value: Real
    if magnitude > f.max_code:
        value = math.inf if magnitude == f.inf_code else math.nan
    else:
        field, fraction = divmod(magnitude, 1 << f.fraction_bits)
        normal = field >= f.first_normal_field
        whole = fraction + ((1 << f.fraction_bits) if normal else 0)
        value = scaled(whole, max(field, f.first_normal_field) - f._bias - f.fraction_bits)
    return -value if negative and not is_nan(value) else value
