"""The rounding of one number, step by step, as data: grid, neighbours, decision, what then happens.

The same path as `exact.round_to`, with every intermediate result kept; tests hold the two
against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from fpemu import exact
from fpemu.chance import Chance
from fpemu.context import Arithmetic
from fpemu.formats import Format
from fpemu.reals import Number, Real, is_finite, is_nan, is_negative, real

Away = Callable[[Fraction], bool]


@dataclass(frozen=True)
class Outcome:
    """Where a decision led: the value on the grid, the result, and the rule that came between.

    `rule` is "" or one of "flushed" (ftz), "below range" (no sign, or no zero), "smallest" (a
    format without zero takes what is small to its smallest number), "overflow", "zero sign".
    """

    away: bool
    on_grid: Fraction
    result: Real
    rule: str


@dataclass(frozen=True)
class Grid:
    """The grid that a finite nonzero number is rounded on.

    ``2**place`` is the distance of its points; `inner` and `outer` are the two around |x|,
    `rest` the part of the gap beyond `inner`, and `odd` whether inner's last bit is 1.
    """

    exponent: int
    place: int
    inner: Fraction
    outer: Fraction
    rest: Fraction
    odd: bool


def grid_of(x: Number, f: Format) -> Grid:
    """The grid of `f` around `x`, as if there were no largest number.

    >>> from fpemu.formats import E4M3
    >>> grid_of(464, E4M3)
    Grid(exponent=8, place=5, inner=Fraction(448, 1), outer=Fraction(480, 1), rest=Fraction(1, 2), \
odd=False)
    """
    magnitude = abs(Fraction(x))
    exponent = exact.floor_log2(magnitude)
    place = max(exponent, f.emin) - f.fraction_bits
    unit = Fraction(2) ** place
    steps, rest = divmod(magnitude, unit)
    # Without a stored fraction the code's last bit is the exponent's.
    by_exponent = f.fraction_bits == 0 and steps
    odd = (max(exponent, f.emin) + (f.bias or 0) if by_exponent else steps) % 2 == 1
    return Grid(exponent, place, steps * unit, (steps + 1) * unit, rest / unit, odd)


def outcome(x: Number, f: Format, grid: Grid, away: bool, settings: Arithmetic) -> Outcome:
    """What becomes of `x` when it goes to the grid point away from zero, or to the other."""
    negative = is_negative(x)
    point = grid.outer if away else grid.inner
    saturation, tiny = settings.saturation, point < Fraction(f.smallest_normal)

    def led_to(result: Real, rule: str) -> Outcome:
        return Outcome(away, -point if negative else point, result, rule)

    flushed = tiny and f.has_zero and "ftz" in settings.subnormals
    if negative and not f.signed and (point or not f.has_zero) and not flushed:
        return led_to(exact.below_range_of(f, saturation), "below range")
    if not f.has_zero and tiny:
        return led_to(f.smallest_normal, "smallest")
    sign = -1.0 if negative and f.has_negative_zero else 1.0
    if point and flushed:
        return led_to(sign * 0.0, "flushed")
    if point > Fraction(f.max):
        beyond = exact.overflow_of(f, negative, settings.rounding, saturation)
        return led_to(-beyond if negative and not is_nan(beyond) else beyond, "overflow")
    if point == 0:
        return led_to(sign * 0.0, "zero sign" if negative and sign > 0 else "")
    return led_to(real(-point if negative else point), "")


def decision(x: Number, grid: Grid, settings: Arithmetic, draw: Away | None) -> bool | None:
    """Whether the mode goes away from zero; None if that is left to chance without a draw."""
    if settings.rounding == "stochastic":
        return draw(grid.rest) if draw else None if grid.rest else False
    return exact.rounds_away(grid.odd, grid.rest, is_negative(x), settings.rounding)


def special(x: Number, f: Format, settings: Arithmetic) -> Real | None:
    """The result for NaN, infinities and zeros; None for NaN that `f` refuses."""
    saturation = settings.saturation
    if is_nan(x):
        return exact.nan_of(f, saturation) if f.has_nan or saturation == "finite" else None
    negative = is_negative(x)
    if is_finite(x):
        if not f.has_zero:
            return exact.below_range_of(f, saturation)
        return -0.0 if negative and f.has_negative_zero else 0.0
    if negative and not f.signed:
        return exact.below_range_of(f, saturation)
    limit = exact.infinity_of(f, saturation)
    return -limit if negative and not is_nan(limit) else limit


def chances(rest: Fraction, chance: Chance) -> Fraction:
    """The probability that `rest` of a gap goes away from zero: of 2**N random integers, how many.

    >>> chances(Fraction(2, 5), Chance(random_bits=2)), chances(Fraction(1, 2), Chance())
    (Fraction(1, 4), Fraction(1, 2))
    """
    top = 1 << chance.random_bits
    if chance.variant == "B":  # floor(2 nu top) + 2R + 1 >= 2 top
        least = -((int(rest * top * 2) + 1 - 2 * top) // 2)
        return Fraction(top - least, top)
    exactly = rest * top
    return Fraction(round(exactly) if chance.variant == "C" else int(exactly), top)
