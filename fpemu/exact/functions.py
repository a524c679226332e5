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
from fpemu.reals import Real, is_finite, is_infinite, is_nan, is_negative, sign_of, size_of

Result = tuple[Real, str]
Interval = tuple[Fraction, Fraction]
_NAN: Result = (math.nan, "")
_INVALID: Result = (math.nan, "invalid")
_BITS = 400
# Beyond these magnitudes all results round alike: far above and far below every format, the widest
# of which reach to 2**33000; and so near to 1 nothing but the side matters.
_FAR = 70000
_HUGE, _TINY = Fraction(2) ** _FAR, Fraction(1, 2**_FAR)
_NEXT_TO_NOTHING = Fraction(1, 2**3000)


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


def _is_tiny(x: Real) -> bool:
    """Whether x is below what 400 bits show beside 1; then the first term of a series is the result,
    but for the side on which the second one lies."""
    return size_of(x) < Fraction(1, 2**500)


def _beside(x: Real, outward: bool) -> Result:
    """A number next to `x`, away from zero or toward it."""
    return Fraction(x) * (1 + _NEXT_TO_NOTHING if outward else 1 - _NEXT_TO_NOTHING), ""


# -- exponentials -------------------------------------------------------------------------------


def _exp(x: Real) -> Result:
    if is_infinite(x):
        return (math.inf if x > 0 else 0.0), ""
    if x == 0:
        return Fraction(1), ""
    if size_of(x) > _FAR:
        return (_HUGE if x > 0 else _TINY), ""
    if _is_tiny(x):
        return _beside(1.0, outward=x > 0)
    exponent = _fraction_as_decimal(Fraction(x))
    return _power_of_e(lambda digits: exponent), ""


def _power_of_e(exponent: Callable[[int], Decimal]) -> Fraction:
    """e to a power below 100,000 that `exponent` gives to so many digits: 2**k times e to a power
    below 1, because numbers of many digits would be slow."""
    k = int(_context(30).divide(exponent(30), _ln2(30)).to_integral_value())

    def enclose(digits: int) -> Interval:
        context = _context(digits + 20)
        rest = context.subtract(exponent(digits + 20), context.multiply(k, _ln2(digits + 20)))
        return _around(context.exp(rest), digits)

    return _narrowed(enclose) * Fraction(2) ** k


@functools.cache
def _ln2(digits: int) -> Decimal:
    return _context(digits).ln(Decimal(2))


def _exp2(x: Real) -> Result:
    if is_infinite(x):
        return (math.inf if x > 0 else 0.0), ""
    if size_of(x) > _FAR:
        return (_HUGE if x > 0 else _TINY), ""
    if x == math.floor(x):
        return Fraction(2) ** int(x), ""
    if _is_tiny(x):
        return _beside(1.0, outward=x > 0)
    exponent = _fraction_as_decimal(Fraction(x))
    return _power_of_e(lambda n: _context(n).multiply(exponent, _ln2(n))), ""


def _expm1(x: Real) -> Result:
    if is_infinite(x):
        return (math.inf if x > 0 else Fraction(-1)), ""
    if x == 0:
        return x, ""
    if _is_tiny(x):
        return _beside(x, outward=x > 0)
    if x > 1500:  # from here on 1 is below the bits that are kept
        return _exp(x)
    return _narrowed(functools.partial(_expm1_interval, x)), ""


def _expm1_interval(x: Real, digits: int) -> Interval:
    if x < -1500:
        return Fraction(-1) + _NEXT_TO_NOTHING / 2, Fraction(-1) + _NEXT_TO_NOTHING
    exact = Fraction(x)
    lost = max(0, -floor_log2(abs(exact))) * 3 // 10 + 10  # digits that the subtraction cancels
    context = _context(digits + lost + 10)
    power = context.exp(_fraction_as_decimal(exact))
    return _around(context.subtract(power, Decimal(1)), digits)


def _tanh(x: Real) -> Result:
    if is_infinite(x):
        return Fraction(1 if x > 0 else -1), ""
    if x == 0:
        return x, ""
    if size_of(x) > 700:
        return _beside(sign_of(x), outward=False)
    if _is_tiny(x):
        return _beside(x, outward=False)

    def enclose(digits: int) -> Interval:
        low, high = _expm1_interval(2 * x, digits)
        return low / (low + 2), high / (high + 2)

    return _narrowed(enclose), ""


def _sigmoid(x: Real) -> Result:
    if is_infinite(x):
        return (Fraction(1) if x > 0 else 0.0), ""
    if x == 0:
        return Fraction(1, 2), ""
    if x > 1500:
        return _beside(1.0, outward=False)
    if x < -1500:  # e**x is below the bits of 1 + e**x that are kept
        return _exp(x)
    exponent = _fraction_as_decimal(Fraction(x))

    def enclose(digits: int) -> Interval:
        low, high = _around(_context(digits + 10).exp(exponent), digits)
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


def _log(x: Real, base2: bool = False) -> Result:
    if x == 0:
        return -math.inf, "divide_by_zero"
    if x < 0:
        return _INVALID
    if is_infinite(x):
        return x, ""
    return _logarithm(Fraction(x), base2)


def _log2(x: Real) -> Result:
    return _log(x, base2=True)


def _log1p(x: Real) -> Result:
    if x == 0 or x == math.inf:
        return x, ""
    if x == -1:
        return -math.inf, "divide_by_zero"
    if x < -1:
        return _INVALID
    if _is_tiny(x):
        return _beside(x, outward=x < 0)
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


def _circular(x: Real, quarter: int) -> Result:
    """sin(x + quarter * pi/2)."""
    if is_infinite(x):
        return _INVALID
    exact = Fraction(x)
    if _is_tiny(x):
        return _beside(1.0 if quarter else x, outward=False)
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


def _sin(x: Real) -> Result:
    return (x, "") if x == 0 else _circular(x, 0)


def _cos(x: Real) -> Result:
    return (Fraction(1), "") if x == 0 else _circular(x, 1)


def _erf(x: Real) -> Result:
    if x == 0:
        return x, ""
    if is_infinite(x):
        return Fraction(1 if x > 0 else -1), ""
    if size_of(x) > 20:
        return _beside(sign_of(x), outward=False)
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


def _rsqrt(x: Real) -> Result:
    if x == 0:
        return sign_of(x) * math.inf, "divide_by_zero"
    if x < 0:
        return _INVALID
    if is_infinite(x):
        return 0.0, ""
    return odd_root(1 / Fraction(x)), ""


def _hypot(x: Real, y: Real) -> Result:
    if is_infinite(x) or is_infinite(y):
        return math.inf, ""
    if is_nan(x) or is_nan(y):
        return _NAN
    if x == 0 and y == 0:
        return 0.0, ""
    return odd_root(Fraction(x) ** 2 + Fraction(y) ** 2), ""


def _power(x: Real, y: Real) -> Result:
    if y == 0 or x == 1:
        return Fraction(1), ""
    if is_nan(x) or is_nan(y):
        return _NAN
    whole = is_finite(y) and y == math.floor(y)
    negative = is_negative(x) and whole and int(y) % 2 == 1
    sign = -1 if negative else 1
    if is_infinite(y):
        if size_of(x) == 1:
            return Fraction(1), ""
        return (math.inf if (size_of(x) > 1) == (y > 0) else 0.0), ""
    if x == 0 or is_infinite(x):
        if (x == 0) == (y > 0):
            return sign * 0.0, ""
        return sign * math.inf, "divide_by_zero" if x == 0 else ""
    if x < 0 and not whole:
        return _INVALID
    return sign * _positive_power(abs(Fraction(x)), Fraction(y)), ""


def _positive_power(x: Fraction, y: Fraction) -> Fraction:
    size = y * floor_log2(x)
    if abs(size) > _FAR + size_of(y):  # floor_log2 is short by at most one, times y
        return _HUGE if size > 0 else _TINY
    exact = _exact_power(x, y)
    if exact is not None:
        return exact
    base, exponent = _fraction_as_decimal(x), _fraction_as_decimal(y)

    def power(digits: int) -> Decimal:
        context = _context(digits + 10)
        return context.multiply(exponent, context.ln(base))

    near = power(30)
    if abs(near) > _FAR:
        return _HUGE if near > 0 else _TINY
    return _power_of_e(power)


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
        return Fraction(2) ** max(-_FAR, min(twos * power, _FAR))
    if power < 0 or power * odd.bit_length() > 4000:
        return None
    return Fraction(odd) ** power * Fraction(2) ** (twos * power)


def _unless_nan(function: Callable[[Real], Result]) -> Callable[[Real, str], Result]:
    def meaning(x: Real, rounding: str) -> Result:
        return _NAN if is_nan(x) else function(x)

    return meaning


_ONE_ARGUMENT: dict[str, Callable[[Real], Result]] = {
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
