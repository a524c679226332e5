"""Exact numbers as text: decimals that say where they are cut, binary digits, parts of a gap."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, Inexact
from fractions import Fraction

from fpemu import exact
from fpemu.numerals import decimal
from fpemu.reals import Number, is_finite, is_nan

_HALF = Fraction(1, 2)
_SHOWN = 30  # digits of a decimal that is cut
_BEYOND = 12  # bits shown beyond the last place of a format


def _context(digits: int, rounding: str = ROUND_HALF_EVEN) -> Context:
    """Decimal arithmetic that raises nothing and has room for every number that we take."""
    return Context(prec=digits, rounding=rounding, Emin=-999999, Emax=999999, traps=[])


def expansion(x: Number, digits: int = 60) -> str:
    """The decimal expansion of `x`, exact up to `digits` digits; what is longer ends in "...".

    >>> expansion(0.5), expansion(Fraction(1, 3)), expansion(-0.0)
    ('0.5', '0.333333333333333333333333333333...', '-0')
    """
    if not is_finite(x) or x == 0:
        return decimal(float(x))
    n, d = map(Decimal, Fraction(x).as_integer_ratio())
    context = _context(digits)
    value = context.divide(n, d)
    cut = bool(context.flags[Inexact])
    if cut:
        value = _context(_SHOWN, ROUND_DOWN).divide(n, d)
    value = value.normalize(context)
    if -6 <= value.adjusted() < 21:
        return f"{value:f}" + "..." * cut
    mantissa, _, exponent = f"{value:E}".partition("E")
    return f"{mantissa}{'...' * cut}E{exponent}"


def rough(x: Fraction) -> str:
    """A few digits of a number of any size.

    >>> rough(Fraction(2, 3)), rough(Fraction(1, 2**30)), rough(Fraction(2, 5))
    ('0.666667', '9.31323e-10', '0.4')
    """
    n, d = map(Decimal, x.as_integer_ratio())
    context = _context(6)
    value = context.divide(n, d).normalize(context)
    if -6 <= value.adjusted() < 6:
        return f"{value:f}"
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{mantissa}e{exponent}"


def said(x: Number) -> str:
    """A number in a sentence: exactly if that is short, else six digits and a word.

    >>> said(0.5), said(Fraction(1, 3)), said(Fraction(2) ** -40)
    ('0.5', 'about 0.333333', '9.094947017729282379150390625E-13')
    """
    return _up_to(x, 40, "about ")


def short(x: Number) -> str:
    """A number in a table: exactly if that is short, else six digits.

    >>> short(0.5), short(Fraction(1, 3)), short(2.0**-30)
    ('0.5', '0.333333', '9.31323e-10')
    """
    return _up_to(x, 12, "")


def _up_to(x: Number, length: int, mark: str) -> str:
    if is_nan(x):
        return "NaN"
    whole = expansion(x)
    fits = len(whole) <= length and not whole.endswith("...")
    return whole if fits else mark + rough(Fraction(x))


def portion(x: Fraction) -> str:
    """A part of a gap, so that what is not a half or nothing or all never looks like it.

    >>> portion(Fraction(2, 5)), portion(_HALF), portion(_HALF + Fraction(1, 2**30))
    ('2/5 (0.4)', '1/2', '1/2 + 9.31323e-10')
    """
    if x in (0, _HALF, 1):
        return str(x)
    for name, base in (("1/2", _HALF), ("1", Fraction(1))):
        if abs(x - base) < Fraction(1, 10**5):
            return f"{name} {'+' if x > base else '-'} {rough(abs(x - base))}"
    return f"{x} ({rough(x)})" if x.denominator <= 1024 else f"about {rough(x)}"


def signed(x: Fraction) -> str:
    """An error in ulps with its sign, just below a half said so.

    >>> signed(Fraction(-2, 5)), signed(_HALF - Fraction(1, 2**30))
    ('-0.4', '+(1/2 - 9.31323e-10)')
    """
    size = portion(abs(x)) if abs(abs(x) - _HALF) < Fraction(1, 10**5) else rough(abs(x))
    size = "0.5" if size == "1/2" else f"({size})" if " " in size else size
    return f"{'-' if x < 0 else '+'}{size}"


def lowest_bit(x: Fraction) -> int | None:
    """The exponent of the last binary digit of `x` that is 1, or None if they go on for ever.

    >>> lowest_bit(Fraction(3, 4)), lowest_bit(Fraction(12)), lowest_bit(Fraction(1, 3))
    (-2, 2, None)
    """
    n, d = x.as_integer_ratio()
    if d & (d - 1):
        return None
    return (n & -n).bit_length() - d.bit_length()


def binary(magnitude: Fraction, place: int) -> str:
    """`magnitude` as 1.ddd * 2**e with a bar behind the digit of ``2**place``, the last one kept.

    >>> binary(Fraction(1, 10), -14)
    '1.1001100110|011001100110... * 2**-4'
    >>> binary(Fraction(5), -2), binary(Fraction(1, 8), 1)
    ('1.0100| * 2**2', '1.0 * 2**-3')
    """
    e = exact.floor_log2(magnitude)
    kept = e >= place
    last, lowest = min(e, place) - _BEYOND, lowest_bit(magnitude)
    if lowest is not None:
        last = max(last, min(lowest, place) if kept else lowest)
    whole, rest = divmod(magnitude, Fraction(2) ** last)
    digits = f"{whole:b}"
    before, after = digits[1 : e - place + 1], digits[e - place + 1 :]
    shown = f"{before}|{after}" if kept else digits[1:] or "0"
    return f"1.{shown}{'...' if rest else ''} * 2**{e}"
