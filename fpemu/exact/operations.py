"""Every operation on one number or a few: the exact result first, then one rounding.

`exact_result` gives what the operation means in real arithmetic, together with the exception
that it signals by itself; the rest is `round_to`. Source: IEEE 754-2019 sections 5 to 7 and 9.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from fpemu.errors import unknown
from fpemu.exact import functions
from fpemu.exact.functions import odd_root
from fpemu.exact.rounding import read_operand, round_to, rounds_away
from fpemu.formats import Format
from fpemu.reals import Number, Real, is_finite, is_infinite, is_nan, sign_of

Result = tuple[Number, str]
_NAN: Result = (math.nan, "")
_INVALID: Result = (math.nan, "invalid")


def compute(op: str, *operands: Real, f: Format, away=None, **settings: Any) -> Real:
    """`op`, one of `OPERATIONS` or `FUNCTIONS`, on values of `f`, rounded once to `f`.

    `settings` are `rounding`, `saturation`, `subnormals` ("daz" reads subnormal operands as zero)
    as in `round_to`; `away` decides stochastic rounding.

    >>> from fpemu.formats import FP16
    >>> compute("add", 2048.0, 1.0, f=FP16), compute("remainder", 5.0, 3.0, f=FP16)
    (2048.0, -1.0)
    """
    value, _ = exact_result(op, *read_operands(operands, f, **settings), away=away, **settings)
    return round_to(value, f, away=away, **settings)


def read_operands(operands: Sequence[Real], f: Format, **settings: Any) -> list[Real]:
    """The operands as the operation reads them."""
    subnormals = settings.get("subnormals", "gradual")
    return [read_operand(x, f, subnormals) for x in operands]


def exact_result(op: str, *operands: Real, away=None, **settings: Any) -> Result:
    """What `op` means in real arithmetic, and its signal: "", "invalid" or "divide_by_zero".

    The result is a Fraction, or a float for zeros with their sign, infinities and NaN. One that is
    not a binary fraction (1/3 aside, which is exact) comes with 400 bits, the last one odd, and
    rounds as the true one does; see `functions`. Of the settings only `rounding` matters: for the sign of an exact zero
    sum, and, with `away` for the stochastic choice, for `round_to_integer`.
    """
    meaning = _MEANING.get(op) or functions.MEANING.get(op)
    if meaning is None:
        raise unknown("operation", op, (*OPERATIONS, *FUNCTIONS))
    rounding = settings.get("rounding", "nearest_even")
    if op == "round_to_integer":
        return _round_to_integer(operands[0], rounding, away)
    return meaning(*operands, rounding)


def _sum(a: Number, b: Number, rounding: str) -> Number:
    """a + b of finite numbers; an exact zero is +0, but -0 when rounding toward negative."""
    total = Fraction(a) + Fraction(b)
    if total != 0:
        return total
    if a == 0 and b == 0 and sign_of(a) == sign_of(b):
        return a
    return -0.0 if rounding == "toward_negative" else 0.0


def _add(a: Real, b: Real, rounding: str) -> Result:
    if is_nan(a) or is_nan(b):
        return _NAN
    if is_infinite(a) or is_infinite(b):
        opposite = is_infinite(a) and is_infinite(b) and a != b
        return _INVALID if opposite else (a if is_infinite(a) else b, "")
    return _sum(a, b, rounding), ""


def _subtract(a: Real, b: Real, rounding: str) -> Result:
    return _add(a, -b, rounding)


def _multiply(a: Real, b: Real, rounding: str) -> Result:
    if is_nan(a) or is_nan(b):
        return _NAN
    if is_infinite(a) or is_infinite(b) or a == 0 or b == 0:
        if (a == 0 and is_infinite(b)) or (is_infinite(a) and b == 0):
            return _INVALID
        size = 0.0 if a == 0 or b == 0 else math.inf
        return sign_of(a) * sign_of(b) * size, ""
    return Fraction(a) * Fraction(b), ""


def _divide(a: Real, b: Real, rounding: str) -> Result:
    if is_nan(a) or is_nan(b):
        return _NAN
    sign = sign_of(a) * sign_of(b)
    if (a == 0 and b == 0) or (is_infinite(a) and is_infinite(b)):
        return _INVALID
    if is_infinite(a):
        return sign * math.inf, ""
    if b == 0:
        return sign * math.inf, "divide_by_zero"
    if a == 0 or is_infinite(b):
        return sign * 0.0, ""
    return Fraction(a) / Fraction(b), ""


def _fma(a: Real, b: Real, c: Real, rounding: str) -> Result:
    # Infinity times zero is invalid whatever c is, as in RISC-V and SoftFloat.
    if (is_infinite(a) and b == 0) or (a == 0 and is_infinite(b)):
        return _INVALID
    if is_nan(a) or is_nan(b) or is_nan(c):
        return _NAN
    if is_infinite(a) or is_infinite(b):
        return _add(sign_of(a) * sign_of(b) * math.inf, c, rounding)
    if is_infinite(c):
        return c, ""
    exact = Fraction(a) * Fraction(b)
    product = exact if exact else sign_of(a) * sign_of(b) * 0.0
    return _sum(product, c, rounding), ""


def _sqrt(a: Real, rounding: str) -> Result:
    if is_nan(a):
        return _NAN
    if a < 0:
        return _INVALID
    if a == 0 or is_infinite(a):
        return a, ""
    return odd_root(Fraction(a)), ""


def _remainder(a: Real, b: Real, rounding: str) -> Result:
    """a - n*b with n the integer nearest to a/b, the even one of two; always exact. A zero has
    the sign of a."""
    if is_nan(a) or is_nan(b):
        return _NAN
    if is_infinite(a) or b == 0:
        return _INVALID
    if is_infinite(b) or a == 0:
        return a, ""
    rest = Fraction(a) - round(Fraction(a) / Fraction(b)) * Fraction(b)
    return rest if rest else sign_of(a) * 0.0, ""


def _modulo(a: Real, b: Real, rounding: str) -> Result:
    """a - floor(a/b)*b, of the sign of b: Python's and NumPy's remainder. A zero has b's sign."""
    if is_nan(a) or is_nan(b):
        return _NAN
    if is_infinite(a) or b == 0:
        return _INVALID
    if is_infinite(b):
        return (sign_of(b) * 0.0 if a == 0 else a if sign_of(a) == sign_of(b) else b), ""
    rest = Fraction(a) - math.floor(Fraction(a) / Fraction(b)) * Fraction(b)
    return rest if rest else sign_of(b) * 0.0, ""


def _floor_divide(a: Real, b: Real, rounding: str) -> Result:
    """floor(a / b), of the exact quotient; by zero as division. A zero has the sign of the quotient."""
    quotient, signal = _divide(a, b, rounding)
    if not isinstance(quotient, Fraction):
        if is_infinite(b) and a != 0 and is_finite(a) and sign_of(a) != sign_of(b):
            return Fraction(-1), ""
        return quotient, signal
    whole = math.floor(quotient)
    return (Fraction(whole) if whole else 0.0), ""


def _fmod(a: Real, b: Real, rounding: str) -> Result:
    """a - n*b with n the quotient cut off, of the sign of a: C's fmod; always exact."""
    if is_nan(a) or is_nan(b):
        return _NAN
    if is_infinite(a) or b == 0:
        return _INVALID
    if is_infinite(b) or a == 0:
        return a, ""
    rest = Fraction(a) - math.trunc(Fraction(a) / Fraction(b)) * Fraction(b)
    return rest if rest else sign_of(a) * 0.0, ""


def _round_to_integer(a: Real, rounding: str, away=None) -> Result:
    """The integer that `rounding` chooses; a zero has the sign of a."""
    if is_nan(a):
        return _NAN
    if is_infinite(a) or a == 0:
        return a, ""
    negative, magnitude = a < 0, abs(Fraction(a))
    whole = math.floor(magnitude)
    rest = magnitude - whole
    whole += away(rest) if away else rounds_away(whole % 2 == 1, rest, negative, rounding)
    return (Fraction(-whole if negative else whole) if whole else sign_of(a) * 0.0), ""


def _smaller(a: Real, b: Real) -> Real:
    """The smaller of two numbers, -0 being smaller than +0."""
    if a == b:
        return a if sign_of(a) < 0 else b
    return a if a < b else b


def _minimum(a: Real, b: Real, rounding: str) -> Result:
    return _NAN if is_nan(a) or is_nan(b) else (_smaller(a, b), "")


def _maximum(a: Real, b: Real, rounding: str) -> Result:
    return _NAN if is_nan(a) or is_nan(b) else (-_smaller(-a, -b), "")


def _minimum_number(a: Real, b: Real, rounding: str) -> Result:
    if is_nan(a) or is_nan(b):
        return (b if is_nan(a) else a), ""
    return _smaller(a, b), ""


def _maximum_number(a: Real, b: Real, rounding: str) -> Result:
    if is_nan(a) or is_nan(b):
        return (b if is_nan(a) else a), ""
    return -_smaller(-a, -b), ""


_MEANING: dict[str, Callable[..., Result]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "sqrt": _sqrt,
    "fma": _fma,
    "remainder": _remainder,
    "modulo": _modulo,
    "floor_divide": _floor_divide,
    "fmod": _fmod,
    "round_to_integer": _round_to_integer,
    "minimum": _minimum,
    "maximum": _maximum,
    "minimum_number": _minimum_number,
    "maximum_number": _maximum_number,
}
OPERATIONS = tuple(_MEANING)
FUNCTIONS = tuple(functions.MEANING)
_OF_TWO = ("power", "hypot")
OPERANDS = {  # how many each takes
    **{op: {"sqrt": 1, "round_to_integer": 1, "fma": 3}.get(op, 2) for op in OPERATIONS},
    **{op: 2 if op in _OF_TWO else 1 for op in FUNCTIONS},
}


def add(a: Real, b: Real, f: Format, **settings: Any) -> Real:
    """a + b rounded once. An exact zero sum is +0, but -0 when rounding toward negative."""
    return compute("add", a, b, f=f, **settings)


def subtract(a: Real, b: Real, f: Format, **settings: Any) -> Real:
    """a - b rounded once."""
    return compute("subtract", a, b, f=f, **settings)


def multiply(a: Real, b: Real, f: Format, **settings: Any) -> Real:
    """a * b rounded once."""
    return compute("multiply", a, b, f=f, **settings)


def divide(a: Real, b: Real, f: Format, **settings: Any) -> Real:
    """a / b rounded once; x/0 is an infinity (before saturation) and 0/0 is NaN."""
    return compute("divide", a, b, f=f, **settings)


def fma(a: Real, b: Real, c: Real, f: Format, **settings: Any) -> Real:
    """a * b + c rounded once. Infinity times zero is NaN, whatever c is."""
    return compute("fma", a, b, c, f=f, **settings)


def sqrt(a: Real, f: Format, **settings: Any) -> Real:
    """The square root rounded once; sqrt(-0) is -0, of other negative numbers NaN."""
    return compute("sqrt", a, f=f, **settings)


def total(values: Sequence[Real], f: Format, **settings: Any) -> Real:
    """The sum from left to right, starting at +0: each addend rounded to `f`, then each sum."""
    accumulator: Real = 0.0
    for value in values:
        accumulator = add(accumulator, round_to(value, f, **settings), f, **settings)
    return accumulator


def dot(a: Sequence[Real], b: Sequence[Real], f: Format, **settings: Any) -> Real:
    """The dot product from left to right, starting at +0: each product rounded, then each sum."""
    accumulator: Real = 0.0
    for x, y in zip(a, b, strict=True):
        accumulator = add(accumulator, multiply(x, y, f, **settings), f, **settings)
    return accumulator
