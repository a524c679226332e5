"""Double rounding: what rounding to float32 or float64 first would have made of a number."""

from __future__ import annotations

from collections.abc import Iterator

from fpemu import exact
from fpemu.context import Arithmetic
from fpemu.explaining import steps, words
from fpemu.explaining.steps import Away
from fpemu.formats import FP32, FP64, Format
from fpemu.reals import Number, Real, is_finite, is_nan, is_negative


def differences(
    x: Number, f: Format, settings: Arithmetic, draw: Away | None, result: Real
) -> Iterator[tuple[str, Real, str]]:
    """The wider types through which `x` would not become `result`: name, value, sentence.

    The first rounding is the type's own, to nearest even, the second that of the settings.

    >>> from fpemu.formats import FP16
    >>> x = 1 + 2.0**-11 + 2.0**-40
    >>> [(name, value) for name, value, _ in differences(x, FP16, Arithmetic(), None, 1.0009765625)]
    [('float32', 1.0)]
    """
    if settings.rounding == "stochastic" and draw is None:
        return  # nothing to compare with
    for wide, name in ((FP32, "float32"), (FP64, "float64")):
        if wide.fraction_bits <= f.fraction_bits:
            continue
        first = exact.round_to(x, wide)
        other = value(first, f, settings, draw)
        if other is not None and not same(other, result):
            yield (
                name,
                other,
                f"through {name} this would have become {words.said(other)}, by rounding twice: "
                f"{name} first makes it {words.said(first)}",
            )


def value(x: Number, f: Format, settings: Arithmetic, draw: Away | None) -> Real | None:
    """What becomes of `x`, without a word; None if it is refused, or left to chance."""
    if x == 0 or not is_finite(x):
        return steps.special(x, f, settings)
    grid = steps.grid_of(x, f)
    away = steps.decision(x, grid, settings, draw)
    return None if away is None else steps.outcome(x, f, grid, away, settings).result


def same(a: Real, b: Real) -> bool:
    """The same value, and the same sign of zero."""
    return (is_nan(a) and is_nan(b)) or (a == b and is_negative(a) == is_negative(b))
