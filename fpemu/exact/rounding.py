"""One number rounded once to a format: the rule that every result of fpemu obeys.

IEEE 754-2019 section 4.3 and OFP8 1.0 table 3: take the exact value, round it once to the
format's precision as if the exponent had no upper bound, then look whether the rounded magnitude
still fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from fpemu import rounding as vocabulary
from fpemu.errors import ArgumentError
from fpemu.formats import Format
from fpemu.reals import Number, Real, is_nan, real, size_of, with_sign_of


def floor_log2(x: Fraction) -> int:
    """The e with 2**e <= x < 2**(e+1), for x > 0.

    >>> floor_log2(Fraction(1, 3))
    -2
    """
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


def round_to(
    x: Number,
    f: Format,
    *,
    rounding: str = "nearest_even",
    saturation: str = "none",
    subnormals: str = "gradual",
    away: Callable[[Fraction], bool] | None = None,
) -> Real:
    """`x` rounded once to a value of `f`: a float, or where that cannot hold it a Fraction.

    NaN stays NaN; a format without NaN refuses it, except under saturation "finite", which
    stores the largest value (CUDA's satfinite rule). Infinities follow `saturation`. Zeros keep
    their sign where the format has a minus zero; what formats without a sign, or without a zero,
    make of values below their smallest says `below_range_of`. "daz" concerns operands, not this
    result, and has no effect here. "stochastic" is not a function of the value alone: it needs
    `away`, the decision for the fraction of a last place beyond the neighbour nearer to zero.

    >>> from fpemu.formats import E4M3, FP16
    >>> round_to(464, E4M3), round_to(465, E4M3), round_to(Fraction(1, 10), FP16)
    (448.0, nan, 0.0999755859375)
    """
    vocabulary.check(rounding=rounding, saturation=saturation, subnormals=subnormals)
    if isinstance(x, float):
        if math.isnan(x):
            return nan_of(f, saturation)
        if math.isinf(x):
            if x < 0 and not f.signed:
                return below_range_of(f, saturation)
            return with_sign_of(infinity_of(f, saturation), x)
        if x == 0 and f.has_zero:
            return x if f.has_negative_zero else 0.0
    negative = x < 0
    magnitude = abs(Fraction(x))
    if magnitude == 0:
        return 0.0 if f.has_zero else below_range_of(f, saturation)

    # The grid on which the result must lie: fixed below the smallest normal.
    e = max(floor_log2(magnitude), f.emin)
    unit = Fraction(2) ** (e - f.fraction_bits)
    steps, rest = divmod(magnitude, unit)
    # Even and odd are those of the code (P3109; the same as of the significand, except where
    # there is no stored fraction and the code's last bit is the exponent's).
    odd = (e + f._bias if f.fraction_bits == 0 and steps else steps) % 2 == 1
    decided = away(rest / unit) if away else rounds_away(odd, rest / unit, negative, rounding)
    steps += decided
    rounded = steps * unit
    if "ftz" in subnormals and rounded < Fraction(f.smallest_normal):
        steps, rounded = 0, Fraction(0)

    if negative and not f.signed and (steps or not f.has_zero):
        return below_range_of(f, saturation)
    if not f.has_zero and rounded < Fraction(f.smallest_normal):
        return f.smallest_normal  # below the smallest number there is none to round to
    if rounded > Fraction(f.max):
        rounded_value = overflow_of(f, negative, rounding, saturation)
    else:
        rounded_value = real(rounded)
    if is_nan(rounded_value) or (rounded_value == 0 and not f.has_negative_zero):
        return rounded_value
    return -rounded_value if negative else rounded_value


def rounds_away(odd: bool, rest: Fraction, negative: bool, rounding: str) -> bool:
    """The one decision: away from zero or not, where `rest` of a last place (0 <= rest < 1) lies
    beyond the neighbour nearer to zero, whose code is `odd` or even?"""
    half = Fraction(1, 2)
    match rounding:
        case "nearest_even":
            return rest > half or (rest == half and odd)
        case "nearest_away":
            return rest >= half
        case "toward_zero":
            return False
        case "toward_positive":
            return rest > 0 and not negative
        case "toward_negative":
            return rest > 0 and negative
        case "to_odd":
            return rest > 0 and not odd
    raise ArgumentError(f"rounding {rounding!r} needs random bits: pass `away`")


def overflow_of(f: Format, negative: bool, rounding: str, saturation: str) -> Real:
    """The magnitude that a finite value becomes when it rounds beyond ``f.max``.

    Under "none" the nearest modes give infinity, else NaN, else the largest value; the modes
    that never leave zero's side of the exact value give the largest value (IEEE 754-2019 section
    7.4). "to_odd" gives the one of the largest value and infinity whose code is odd: in the IEEE
    formats the largest value (SoftFloat), in P3109's extended formats with a sign infinity;
    without infinity it gives the largest value rather than round into NaN.
    """
    stays = {
        "toward_zero": True,
        "toward_positive": negative,
        "toward_negative": not negative,
        "to_odd": f.max_code % 2 == 1 or not f.has_inf,
    }.get(rounding, False)
    if saturation != "none" or stays:
        return f.max
    return infinity_of(f, saturation)


def infinity_of(f: Format, saturation: str) -> Real:
    """The magnitude that an infinite operand becomes in `f`.

    P3109's finite formats have no infinity and yet never make NaN of it (the rule Saturate).
    """
    if saturation == "finite":
        return f.max
    if f.has_inf:
        return math.inf
    return math.nan if f.has_nan and not f.follows_p3109 else f.max


def below_range_of(f: Format, saturation: str) -> Real:
    """What a value becomes that rounds below all of a format without a sign, or is a zero in one
    without zero.

    With saturation the smallest number: zero, in E8M0 2**-127. Under "none" NaN, as ml_dtypes
    has it for E8M0; but P3109's formats, by their rule Saturate, take the smallest number there,
    too, and so do formats without NaN.
    """
    if saturation == "none" and f.has_nan and not f.follows_p3109:
        return math.nan
    return f.min


def nan_of(f: Format, saturation: str) -> Real:
    """What NaN becomes in `f`: NaN, or the stated rule of a format that has none."""
    if f.has_nan:
        return math.nan
    if saturation == "finite":
        return f.max
    raise ArgumentError(
        f"NaN cannot be stored in {f.name}, which has no NaN; replace NaN first, or use "
        "saturation='finite', which stores the largest value"
    )


def read_operand(x: Real, f: Format, subnormals: str) -> Real:
    """An operand of format `f` as an operation reads it: under "daz" a subnormal is a zero."""
    if "daz" in subnormals and 0 < size_of(x) < f.smallest_normal:
        return with_sign_of(0.0, x) if f.has_negative_zero else 0.0
    return x
