"""The specification as code: every operation on one number, in Python integers and Fractions.

Slow and readable on purpose. Nothing here shares code with the kernels; tests, `verify` and
`explain` hold the kernels against this file. A value travels as a Python float, which holds
every number of every format exactly, together with the two zeros, the infinities and NaN.

The rule that every result obeys (IEEE 754-2019 section 4.3, OFP8 1.0 table 3): take the exact
value, round it once to the format's precision as if the exponent had no upper bound, then look
whether the rounded magnitude still fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from fpemu import rounding as vocabulary
from fpemu.errors import ArgumentError
from fpemu.formats import Format

Number = int | float | Fraction


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
) -> float:
    """`x` rounded once to a value of `f`.

    NaN stays NaN; a format without NaN refuses it, except under saturation "finite", which
    stores the largest value (CUDA's satfinite rule). Infinities follow `saturation`. Zeros keep
    their sign where the format has a minus zero. "daz" concerns operands, not this result, and
    has no effect here. "stochastic" is not a function of the value alone: it needs `away`, the
    decision for the fraction of a last place beyond the neighbour nearer to zero.

    >>> from fpemu.formats import E4M3, FP16
    >>> round_to(464, E4M3), round_to(465, E4M3), round_to(Fraction(1, 10), FP16)
    (448.0, nan, 0.0999755859375)
    """
    vocabulary.check(rounding=rounding, saturation=saturation, subnormals=subnormals)
    if isinstance(x, float):
        if math.isnan(x):
            return nan_of(f, saturation)
        if math.isinf(x):
            infinity = infinity_of(f, saturation)
            return infinity if math.isnan(infinity) else math.copysign(infinity, x)
        if x == 0:
            return x if f.has_negative_zero else 0.0
    negative = x < 0
    magnitude = abs(Fraction(x))
    if magnitude == 0:
        return 0.0

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

    if rounded > Fraction(f.max):
        rounded_value = overflow_of(f, negative, rounding, saturation)
    elif "ftz" in subnormals and rounded < Fraction(f.smallest_normal):
        rounded_value = 0.0
    else:
        rounded_value = float(rounded)
    if math.isnan(rounded_value) or (rounded_value == 0 and not f.has_negative_zero):
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


def rounds_away_by_chance(rest: Fraction, random: int, random_bits: int, variant: str) -> bool:
    """The decision of stochastic rounding for `rest` of a last place and N random bits.

    Variants A, B and C of IEEE P3109: with nu the rest and R the random integer,
    A: floor(nu 2^N) + R >= 2^N; B: floor(nu 2^(N+1)) + 2R + 1 >= 2^(N+1);
    C: nu 2^N rounded to nearest even + R >= 2^N.
    """
    top = 1 << random_bits
    match variant:
        case "A":
            return math.floor(rest * top) + random >= top
        case "B":
            return math.floor(rest * top * 2) + 2 * random + 1 >= 2 * top
        case "C":
            return round(rest * top) + random >= top
    raise ArgumentError(f"unknown stochastic variant {variant!r}; allowed: A, B, C")


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10 (Salmon et al. 2011): four 32-bit words for a counter of four and a key of two.

    >>> [hex(word) for word in philox([0, 0, 0, 0], [0, 0])]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(c0 * 0xD2511F53, 1 << 32)
        high1, low1 = divmod(c2 * 0xCD9E8D57, 1 << 32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % (1 << 32), (k1 + 0xBB67AE85) % (1 << 32)
    return [c0, c1, c2, c3]


def random_integer(index: int, seed: int, random_bits: int) -> int:
    """The N random bits of element `index`: the top bits of its word, then of its second word."""
    block, number = index // 1024 * 256 + index % 256, index % 1024 // 256
    counter = [block % (1 << 32), block >> 32, seed % (1 << 32), seed >> 32]
    first = philox(counter, [0x243F6A88, 0x85A308D3])[number]
    second = philox(counter, [0x13198A2E, 0x03707344])[number]
    return (first << 32 | second) >> (64 - random_bits)


def overflow_of(f: Format, negative: bool, rounding: str, saturation: str) -> float:
    """The magnitude that a finite value becomes when it rounds beyond ``f.max``.

    Under "none" the nearest modes give infinity, else NaN, else the largest value; the modes
    that never leave zero's side of the exact value give the largest value (IEEE 754-2019 section
    7.4). "to_odd" gives the largest value: in the IEEE formats its code is the odd one
    (SoftFloat), and for the others fpemu keeps the same rule rather than round into NaN.
    """
    stays = {
        "toward_zero": True,
        "toward_positive": negative,
        "toward_negative": not negative,
        "to_odd": True,
    }.get(rounding, False)
    if saturation != "none" or stays:
        return f.max
    return infinity_of(f, saturation)


def infinity_of(f: Format, saturation: str) -> float:
    """The magnitude that an infinite operand becomes in `f`."""
    if saturation == "finite":
        return f.max
    if f.has_inf:
        return math.inf
    return math.nan if f.has_nan else f.max


def nan_of(f: Format, saturation: str) -> float:
    """What NaN becomes in `f`: NaN, or the stated rule of a format that has none."""
    if f.has_nan:
        return math.nan
    if saturation == "finite":
        return f.max
    raise ArgumentError(
        f"NaN cannot be stored in {f.name}, which has no NaN; replace NaN first, or use "
        "saturation='finite', which stores the largest value"
    )


def read_operand(x: float, f: Format, subnormals: str) -> float:
    """An operand of format `f` as an operation reads it: under "daz" a subnormal is a zero."""
    if "daz" in subnormals and 0 < abs(x) < f.smallest_normal:
        return math.copysign(0.0, x) if f.has_negative_zero else 0.0
    return x


# -- codes ------------------------------------------------------------------------------------


def encode(value: float, f: Format) -> int:
    """The code of `value`, which must be a value of `f`; NaN becomes `f.nan_code`.

    >>> from fpemu.formats import E4M3
    >>> hex(encode(-448.0, E4M3))
    '0xfe'
    """
    if math.isnan(value):
        if f.nan_code is None:
            nan_of(f, "none")
        return f.nan_code  # type: ignore[return-value]
    sign = (math.copysign(1.0, value) < 0) << (f.bits - 1)
    magnitude = abs(value)
    if math.isinf(magnitude):
        if f.inf_code is None:
            raise ArgumentError(f"{value} is not a value of {f.name}")
        return sign | f.inf_code
    if magnitude == 0:
        return sign if f.has_negative_zero else 0
    exact = Fraction(magnitude)
    e = max(floor_log2(exact), f.emin)
    steps = exact / Fraction(2) ** (e - f.fraction_bits)
    if steps.denominator != 1 or exact > Fraction(f.max):
        raise ArgumentError(f"{value!r} is not a value of {f.name}; round it first")
    field = (e + f._bias) if steps >= 1 << f.fraction_bits else 0
    return sign | (field << f.fraction_bits) | (int(steps) & ((1 << f.fraction_bits) - 1))


def decode(code: int, f: Format) -> float:
    """The value of `code`.

    >>> from fpemu.formats import FP16
    >>> decode(0x0001, FP16) == 2.0**-24
    True
    """
    if not 0 <= code < 1 << f.bits:
        raise ArgumentError(f"code {code} does not fit {f.name}: allowed 0 to {(1 << f.bits) - 1}")
    negative = bool(code >> (f.bits - 1))
    magnitude = code & ((1 << (f.bits - 1)) - 1)
    if not f.has_negative_zero and negative and magnitude == 0:
        return math.nan
    if magnitude > f.max_code:
        value = math.inf if magnitude == f.inf_code else math.nan
    else:
        field, fraction = divmod(magnitude, 1 << f.fraction_bits)
        whole = fraction + ((1 << f.fraction_bits) if field else 0)
        value = math.ldexp(whole, max(field, 1) - f._bias - f.fraction_bits)
    return -value if negative and not math.isnan(value) else value


# -- operations, each rounded once -------------------------------------------------------------


def add(a: float, b: float, f: Format, **settings: Any) -> float:
    """a + b rounded once. An exact zero sum is +0, but -0 when rounding toward negative."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return round_to(a + b, f, **settings)
    total = Fraction(a) + Fraction(b)
    if total == 0:
        if a == 0 and math.copysign(1.0, a) == math.copysign(1.0, b):
            return round_to(a, f, **settings)
        down = settings.get("rounding") == "toward_negative"
        return round_to(-0.0 if down else 0.0, f, **settings)
    return round_to(total, f, **settings)


def subtract(a: float, b: float, f: Format, **settings: Any) -> float:
    """a - b rounded once."""
    return add(a, -b, f, **settings)


def multiply(a: float, b: float, f: Format, **settings: Any) -> float:
    """a * b rounded once."""
    if not (math.isfinite(a) and math.isfinite(b)) or a == 0 or b == 0:
        return round_to(a * b, f, **settings)
    return round_to(Fraction(a) * Fraction(b), f, **settings)


def divide(a: float, b: float, f: Format, **settings: Any) -> float:
    """a / b rounded once; x/0 is an infinity (before saturation) and 0/0 is NaN."""
    if math.isnan(a) or math.isnan(b) or (a == 0 and b == 0):
        return round_to(math.nan, f, **settings)
    if b == 0:
        sign = math.copysign(1.0, a) * math.copysign(1.0, b)
        return round_to(math.copysign(math.inf, sign), f, **settings)
    if not (math.isfinite(a) and math.isfinite(b)) or a == 0:
        return round_to(a / b, f, **settings)
    return round_to(Fraction(a) / Fraction(b), f, **settings)


def fma(a: float, b: float, c: float, f: Format, **settings: Any) -> float:
    """a * b + c rounded once. Infinity times zero is NaN, whatever c is."""
    if math.isnan(a * b) or not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        infinite = math.isinf(a) or math.isinf(b)
        product = a * b if infinite or math.isnan(a) or math.isnan(b) else 0.0
        return round_to(product + c, f, **settings)
    product_sign = math.copysign(1.0, a) * math.copysign(1.0, b)
    total = Fraction(a) * Fraction(b) + Fraction(c)
    if total == 0:
        zeros_alike = (a == 0 or b == 0) and c == 0 and product_sign == math.copysign(1.0, c)
        down = settings.get("rounding") == "toward_negative"
        return round_to(c if zeros_alike else -0.0 if down else 0.0, f, **settings)
    return round_to(total, f, **settings)


def sqrt(a: float, f: Format, **settings: Any) -> float:
    """The square root rounded once; sqrt(-0) is -0, of other negative numbers NaN."""
    if math.isnan(a) or a < 0:
        return round_to(math.nan, f, **settings)
    if a == 0 or math.isinf(a):
        return round_to(a, f, **settings)
    # An integer square root to more bits than any format has, its lowest bit sticky ("to odd").
    n, d = Fraction(a).as_integer_ratio()
    shift = 2 * max(0, 140 - (n.bit_length() - d.bit_length()))
    scaled, rest = divmod(n << shift, d)
    root = math.isqrt(scaled)
    if rest or root * root != scaled:
        root |= 1
    return round_to(Fraction(root, 1 << (shift // 2)), f, **settings)


def total(values: Sequence[float], f: Format, **settings: Any) -> float:
    """The sum from left to right, starting at +0: each addend rounded to `f`, then each sum."""
    accumulator = 0.0
    for value in values:
        accumulator = add(accumulator, round_to(value, f, **settings), f, **settings)
    return accumulator


def dot(a: Sequence[float], b: Sequence[float], f: Format, **settings: Any) -> float:
    """The dot product from left to right, starting at +0: each product rounded, then each sum."""
    accumulator = 0.0
    for x, y in zip(a, b, strict=True):
        accumulator = add(accumulator, multiply(x, y, f, **settings), f, **settings)
    return accumulator
