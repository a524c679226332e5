"""The flags of one rounding, and whether the two rules of tininess disagree about them."""

from __future__ import annotations

from fpemu import exact
from fpemu.context import Arithmetic
from fpemu.explaining.steps import Away
from fpemu.formats import Format
from fpemu.reals import Number


def told(
    x: Number, f: Format, settings: Arithmetic, draw: Away | None, signal: str
) -> tuple[list[str], str]:
    """The flags, sorted, and a line about them.

    `signal` is what the operation that gave `x` signalled itself: that alone, then, for such a
    result is not rounded. Without a draw `x` must be exact when the rounding is "stochastic".

    >>> from fpemu.formats import FP16
    >>> told(2.0**-14 * (1 - 2.0**-12), FP16, Arithmetic(), None, "")
    (['inexact'], 'inexact (tininess judged after rounding; judged before, underflow, too)')
    """
    if signal:
        return [signal], signal
    away = None
    if settings.rounding == "stochastic":
        away = draw or (lambda rest: False)
    found = {
        rule: exact.flags_of_rounding(
            x,
            f,
            tininess=rule,
            away=away,
            rounding=settings.rounding,
            saturation=settings.saturation,
            subnormals=settings.subnormals,
        )
        for rule in exact.TININESS
    }
    mine = found.pop(settings.tininess)
    ((other, theirs),) = found.items()
    line = ", ".join(sorted(mine)) or "none"
    if mine != theirs:
        also = "underflow, too" if "underflow" in theirs else "no underflow"
        line += f" (tininess judged {settings.tininess} rounding; judged {other}, {also})"
    elif "underflow" in mine:
        line += " (tiny and inexact)"
    return sorted(mine), line
