"""exp, log, sin and their kin on one number, to as many bits as rounding needs.

A result that is not itself a short binary number comes back cut to 400 bits with the last one set
("to odd"): every rounding to fewer than some 390 bits then goes the way of the true result, whose
later bits can only make it still less of a tie. Each function gives an interval for the true
result, which is narrowed until both its ends agree in 400 bits.

exp and ln are those of the standard library's `decimal`, which are correctly rounded at any
precision; sine, cosine and the error function are sums of their series in integers. Special values
are those of IEEE 754-2019 section 9.2.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from fpemu.exact.rounding import floor_log2

Result = tuple[Fraction | float, str]
Interval = tuple[Fraction, Fraction]
_NAN: Result = (math.nan, "")
_INVALID: Result = (math.nan, "invalid")
_BITS = 400
# Beyond these magnitudes all results round alike: far above and far below every format.
_HUGE, _TINY = Fraction(2) ** 3000, Fraction(1, 2**3000)


def odd_root(x: Fraction) -> Fraction:
    """The square root of x > 0: itself if rational, else to at least 400 bits with the last set."""
    n, d = x.as_integer_ratio()
    rational = Fraction(math.isqrt(n), math.isqrt(d))
    if rational * rational == x:
        return rational
    shift = 2 * max(0, _BITS - (n.bit_length() - d.bit_length()) // 2)
    return Fraction(math.isqrt((n << shift) // d) | 1, 1 << (shift // 2))


def _narrowed(enclose: Callable[[int], Interval]) -> Fraction:
    """The number inside ``enclose(digits)``, for enough digits, cut to 400 bits and made odd."""
    digits = 150
    while True:
        low, high = enclose(digits)
        sign = 1 if low > 0 else -1
        if low * high > 0:
            inner, outer = sorted((abs(low), abs(high)))
            unit = Fraction(2) ** (floor_log2(inner) - _BITS)
            if inner // unit == outer // unit:
                return sign * (inner // unit | 1) * unit
        digits *= 2


@functools.cache
def _context(digits: int) -> decimal.Context:
    return decimal.Context(
        prec=digits, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.InvalidOperation]
    )


def _around(value: Decimal, digits: int) -> Interval:
    """`value` whose relative error is below 10**-digits."""
    middle, error = Fraction(value), Fraction(1, 10**digits)
    low, high = middle * (1 - error), middle * (1 + error)
    return (low, high) if middle > 0 else (high, low)


def _exp_of(x: Decimal, digits: int) -> Decimal:
    return _context(digits).exp(x)


def _fraction_as_decimal(x: Fraction) -> Decimal:
    """A binary fraction n / 2**k as the decimal n * 5**k / 10**k."""
    k = x.denominator.bit_length() - 1
    return Decimal(x.numerator * 5**k).scaleb(-k, decimal.Context(prec=decimal.MAX_PREC))


# -- exponentials -------------------------------------------------------------------------------


def _exp(x: float) -> Result:
    if math.isinf(x):
        return (math.inf if x > 0 else 0.0), ""
    if x == 0:
        return Fraction(1), ""
    return _power_of_e(lambda digits: Decimal(x), x), ""


def _power_of_e(exponent: Callable[[int], Decimal], near: float) -> Fraction:
    """e to a power that `exponent` gives to so many digits; `near` is a float64 close to it."""
    if abs(near) > 1500:
        return _HUGE if near > 0 else _TINY

    def enclose(digits: int) -> Interval:
        return _around(_exp_of(exponent(digits + 10), digits + 10), digits)

    return _narrowed(enclose)


@functools.cache
def _ln2(digits: int) -> Decimal:
    return _context(digits).ln(Decimal(2))


def _exp2(x: float) -> Result:
    if math.isinf(x):
        return (math.inf if x > 0 else 0.0), ""
    if abs(x) > 2000:
        return (_HUGE if x > 0 else _TINY), ""
    if x == math.floor(x):
        return Fraction(2) ** int(x), ""
    return _power_of_e(lambda n: _context(n).multiply(Decimal(x), _ln2(n)), x * 0.7), ""


def _expm1(x: float) -> Result:
    if math.isinf(x):
        return (math.inf if x > 0 else Fraction(-1)), ""
    if x == 0:
        return x, ""
    return _narrowed(functools.partial(_expm1_interval, x)), ""


def _expm1_interval(x: float, digits: int) -> Interval:
    if x > 1500:
        return _HUGE, _HUGE * (1 + Fraction(1, 10**digits))
    if x < -1500:
        return Fraction(-1) + _TINY / 2, Fraction(-1) + _TINY
    lost = max(0, -math.floor(math.log10(abs(x)))) + 10
    context = _context(digits + lost + 10)
    return _around(context.subtract(context.exp(Decimal(x)), Decimal(1)), digits)


def _tanh(x: float) -> Result:
    if math.isinf(x):
        return Fraction(1 if x > 0 else -1), ""
    if x == 0:
        return x, ""
    if abs(x) > 700:
        return (1 - _TINY if x > 0 else -1 + _TINY), ""

    def enclose(digits: int) -> Interval:
        low, high = _expm1_interval(2 * x, digits)
        return low / (low + 2), high / (high + 2)

    return _narrowed(enclose), ""


def _sigmoid(x: float) -> Result:
    if math.isinf(x):
        return (Fraction(1) if x > 0 else 0.0), ""
    if x == 0:
        return Fraction(1, 2), ""
    if abs(x) > 1500:
        return (1 - _TINY if x > 0 else _TINY), ""

    def enclose(digits: int) -> Interval:
        low, high = _around(_exp_of(Decimal(x), digits + 10), digits)
        return low / (low + 1), high / (high + 1)

    return _narrowed(enclose), ""


# -- logarithms ---------------------------------------------------------------------------------


def _logarithm(x: Fraction, base2: bool) -> Result:
    """The logarithm of x > 0."""
    if x == 1:
        return 0.0, ""
    whole = floor_log2(x)
    if base2 and Fraction(2) ** whole == x:
        return Fraction(whole), ""
    exact = _fraction_as_decimal(x)

    def enclose(digits: int) -> Interval:
        context = _context(digits + 10)
        value = context.ln(exact)
        return _around(context.divide(value, _ln2(digits + 10)) if base2 else value, digits)

    return _narrowed(enclose), ""


def _log(x: float, base2: bool = False) -> Result:
    if x == 0:
        return -math.inf, "divide_by_zero"
    if x < 0:
        return _INVALID
    if math.isinf(x):
        return x, ""
    return _logarithm(Fraction(x), base2)


def _log2(x: float) -> Result:
    return _log(x, base2=True)


def _log1p(x: float) -> Result:
    if x == 0 or x == math.inf:
        return x, ""
    if x == -1:
        return -math.inf, "divide_by_zero"
    if x < -1:
        return _INVALID
    return _logarithm(1 + Fraction(x), base2=False)


# -- sine, cosine, error function: series in integers --------------------------------------------


@functools.cache
def _pi(bits: int) -> int:
    """floor(pi * 2**bits), or one less or more, by Machin's formula."""
    guard = bits + 40
    return (16 * _arctan_of_inverse(5, guard) - 4 * _arctan_of_inverse(239, guard)) >> 40


def _arctan_of_inverse(n: int, bits: int) -> int:
    power = (1 << bits) // n
    total, k = power, 1
    while power:
        power //= n * n
        k += 2
        total += -power // k if k % 4 == 3 else power // k
    return total


def _circular(x: float, quarter: int) -> Result:
    """sin(x + quarter * pi/2)."""
    if math.isinf(x):
        return _INVALID
    exact = Fraction(x)
    size = max(0, floor_log2(abs(exact)))
    small = max(0, -floor_log2(abs(exact)))

    def enclose(digits: int) -> Interval:
        bits = int(digits * 3.33) + 3 * small + 60
        # x = turns * pi/2 + rest, in units of 2**-bits; pi to so many more bits as x is large.
        half_pi = _pi(bits + size + 10)
        scaled = exact * 2 ** (bits + size + 11)
        turns = round(scaled / half_pi)
        rest = int(scaled - turns * half_pi) >> (size + 11)
        value = _sine_or_cosine(rest, (turns + quarter) % 4, bits)
        error = Fraction(1 << 24, 1 << bits)
        return Fraction(value, 1 << bits) - error, Fraction(value, 1 << bits) + error

    return _narrowed(enclose), ""


def _sine_or_cosine(rest: int, quarter: int, bits: int) -> int:
    """sin(rest + quarter * pi/2) in units of 2**-bits, for a rest below 1, to a few thousand units."""
    square = (rest * rest) >> bits
    term, k = (rest, 1) if quarter % 2 == 0 else (1 << bits, 0)
    total = 0
    while term:
        total += term
        term = -((term * square) >> bits) // ((k + 1) * (k + 2))
        if term == -1:  # a floor that never reaches zero
            term = 0
        k += 2
    return -total if quarter >= 2 else total


def _sin(x: float) -> Result:
    return (x, "") if x == 0 else _circular(x, 0)


def _cos(x: float) -> Result:
    return (Fraction(1), "") if x == 0 else _circular(x, 1)


def _erf(x: float) -> Result:
    if x == 0:
        return x, ""
    if abs(x) > 40:
        limit = Fraction(1) if math.isinf(x) else 1 - _TINY
        return (limit if x > 0 else -limit), ""
    exact = abs(Fraction(x))

    def enclose(digits: int) -> Interval:
        # 2/sqrt(pi) exp(-x**2) sum of 2**n x**(2n+1) / (1 * 3 * 5 ... (2n+1)): all terms positive.
        bits = int(digits * 3.33) + 60 + max(0, -floor_log2(exact))
        square = int(exact * exact * 2**bits)
        term = int(exact * 2**bits)
        total, n = 0, 0
        while term:
            total += term
            n += 1
            term = ((term * square) >> (bits - 1)) // (2 * n + 1)
        # Each term is short by less than n + 1 units, relative to it.
        low, high = Fraction(total, 1 << bits), Fraction(total + n * n + n, 1 << bits)
        factor = 2 / Fraction(math.isqrt(_pi(2 * bits)), 1 << bits)
        factor_low, factor_high = _around(
            _exp_of(_fraction_as_decimal(exact * exact).copy_negate(), digits + 10), digits
        )
        slack = Fraction(1, 10**digits)
        return low * factor * factor_low * (1 - slack), high * factor * factor_high * (1 + slack)

    value = _narrowed(enclose)
    return (value if x > 0 else -value), ""


# -- roots and powers ---------------------------------------------------------------------------


def _rsqrt(x: float) -> Result:
    if x == 0:
        return math.copysign(math.inf, x), "divide_by_zero"
    if x < 0:
        return _INVALID
    if math.isinf(x):
        return 0.0, ""
    return odd_root(1 / Fraction(x)), ""


def _hypot(x: float, y: float) -> Result:
    if math.isinf(x) or math.isinf(y):
        return math.inf, ""
    if math.isnan(x) or math.isnan(y):
        return _NAN
    if x == 0 and y == 0:
        return 0.0, ""
    return odd_root(Fraction(x) ** 2 + Fraction(y) ** 2), ""


def _power(x: float, y: float) -> Result:
    if y == 0 or x == 1:
        return Fraction(1), ""
    if math.isnan(x) or math.isnan(y):
        return _NAN
    whole = math.isfinite(y) and y == math.floor(y)
    negative = math.copysign(1.0, x) < 0 and whole and int(y) % 2 == 1
    sign = -1 if negative else 1
    if math.isinf(y):
        if abs(x) == 1:
            return Fraction(1), ""
        return (math.inf if (abs(x) > 1) == (y > 0) else 0.0), ""
    if x == 0 or math.isinf(x):
        if (x == 0) == (y > 0):
            return sign * 0.0, ""
        return sign * math.inf, "divide_by_zero" if x == 0 else ""
    if x < 0 and not whole:
        return _INVALID
    return sign * _positive_power(abs(Fraction(x)), Fraction(y)), ""


def _positive_power(x: Fraction, y: Fraction) -> Fraction:
    size = y * floor_log2(x)
    if abs(size) > 2 * (2000 + abs(y)):  # floor_log2 is short by at most one, times y
        return _HUGE if size > 0 else _TINY
    exact = _exact_power(x, y)
    if exact is not None:
        return exact
    base, exponent = _fraction_as_decimal(x), _fraction_as_decimal(y)

    def enclose(digits: int) -> Interval:
        context = _context(digits + 30)
        power = context.multiply(exponent, context.ln(base))
        if abs(power) > 1500:
            edge = _HUGE if power > 0 else _TINY
            return edge, edge * (1 + Fraction(1, 10**digits))
        return _around(context.exp(power), digits)

    return _narrowed(enclose)


def _exact_power(x: Fraction, y: Fraction) -> Fraction | None:
    """x**y where that is a binary fraction of at most some 4,000 bits: longer ones are neither
    numbers of a format nor between two of them."""
    n, d = x.as_integer_ratio()  # one of them a power of two
    twos = (n & -n).bit_length() - d.bit_length()
    odd = n >> ((n & -n).bit_length() - 1)
    power = y.numerator
    for _ in range(y.denominator.bit_length() - 1):  # y is power / 2**k: take k square roots
        root = math.isqrt(odd)
        if twos % 2 or root * root != odd:
            return None
        twos, odd = twos // 2, root
    if odd == 1:
        return Fraction(2) ** (twos * power) if abs(twos * power) < 3000 else None
    if power < 0 or power * odd.bit_length() > 4000:
        return None
    return Fraction(odd) ** power * Fraction(2) ** (twos * power)


def _unless_nan(function: Callable[[float], Result]) -> Callable[[float, str], Result]:
    def meaning(x: float, rounding: str) -> Result:
        return _NAN if math.isnan(x) else function(x)

    return meaning


_ONE_ARGUMENT: dict[str, Callable[[float], Result]] = {
    "exp": _exp,
    "exp2": _exp2,
    "expm1": _expm1,
    "log": _log,
    "log2": _log2,
    "log1p": _log1p,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "sin": _sin,
    "cos": _cos,
    "rsqrt": _rsqrt,
}
MEANING: dict[str, Callable[..., Result]] = {
    **{name: _unless_nan(function) for name, function in _ONE_ARGUMENT.items()},
    "power": lambda x, y, rounding: _power(x, y),
    "hypot": lambda x, y, rounding: _hypot(x, y),
}
