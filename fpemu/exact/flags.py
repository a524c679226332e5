"""The five exceptions of IEEE 754-2019 section 7, for one operation on one set of operands.

The tininess rule is the one thing that the standard leaves open: a result is tiny when the exact
value lies below the smallest normal number ("before" rounding: Arm), or when the value rounded to
the format's precision with an unbounded exponent does ("after": x86, RISC-V, SoftFloat's usual
setting). Underflow is signalled when the result is tiny and inexact.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fpemu.errors import unknown
from fpemu.exact.operations import exact_result, read_operands
from fpemu.exact.rounding import floor_log2, round_to, rounds_away
from fpemu.formats import Format
from fpemu.reals import Number, Real, is_finite, is_infinite, is_nan

FLAGS = ("inexact", "underflow", "overflow", "divide_by_zero", "invalid")
TININESS = ("after", "before")


def flags_of_operation(
    op: str, *operands: Real, f: Format, tininess: str = "after", away=None, **settings: Any
) -> set[str]:
    """What `op` on values of `f` signals; `round_to_integer` signals inexact as IEEE's "Exact".

    >>> from fpemu.formats import FP16
    >>> sorted(flags_of_operation("multiply", 300.0, 300.0, f=FP16))
    ['inexact', 'overflow']
    """
    read = read_operands(operands, f, **settings)
    value, signal = exact_result(op, *read, away=away, **settings)
    if signal:
        return {signal}
    flags = flags_of_rounding(value, f, tininess=tininess, away=away, **settings)
    if op == "round_to_integer" and is_finite(read[0]) and value != read[0]:
        flags.add("inexact")
    return flags


def flags_of_rounding(
    x: Number, f: Format, *, tininess: str = "after", away=None, **settings: Any
) -> set[str]:
    """What rounding the exact value `x` to `f` signals.

    Infinities, zeros and negative numbers that the format does not have are no overflow: they
    signal invalid if they become NaN, else (saturated) inexact.
    """
    if tininess not in TININESS:
        raise unknown("tininess", tininess, TININESS)
    if is_nan(x):
        return set()
    result = round_to(x, f, away=away, **settings)
    rounding = settings.get("rounding", "nearest_even")
    if x == 0 or is_infinite(x):
        return _flags_of_what_is_missing(result, x)
    exact = Fraction(x)
    on_grid = _rounded(exact, f, max(floor_log2(abs(exact)), f.emin), rounding, away)
    if "ftz" in settings.get("subnormals", "gradual") and abs(on_grid) < f.smallest_normal:
        on_grid = Fraction(0)
    if exact < 0 and not f.signed and (on_grid or not f.has_zero):
        return _flags_of_what_is_missing(result, x)
    overflow = abs(on_grid) > Fraction(f.max)
    inexact = overflow or result != exact
    # The same with an exponent that has no lower bound either.
    judged = (
        exact
        if tininess == "before"
        else _rounded(exact, f, floor_log2(abs(exact)), rounding, away)
    )
    tiny = abs(judged) < Fraction(f.smallest_normal)
    seen = {"overflow": overflow, "inexact": inexact, "underflow": tiny and inexact}
    return {name for name, happened in seen.items() if happened}


def _flags_of_what_is_missing(result: Real, x: Number) -> set[str]:
    if is_nan(result):
        return {"invalid"}
    return set() if result == x else {"inexact"}


def _rounded(x: Fraction, f: Format, e: int, rounding: str, away) -> Fraction:
    """`x` rounded to multiples of the last place of binade `e`."""
    unit = Fraction(2) ** (e - f.fraction_bits)
    steps, rest = divmod(abs(x), unit)
    odd = (e + f._bias if f.fraction_bits == 0 and steps else steps) % 2 == 1
    decided = away(rest / unit) if away else rounds_away(odd, rest / unit, x < 0, rounding)
    return (steps + decided) * unit * (1 if x > 0 else -1)


def cancelled_bits(a: Real, b: Real) -> int | None:
    """How many leading bits a + b has lost against the larger of the two; None for all of them, 0 for
    fewer than two (one goes in ordinary differences, as in 8 - 1) and where an operand is zero,
    infinite or NaN.

    >>> cancelled_bits(1024.0, -1023.0), cancelled_bits(8.0, -1.0), cancelled_bits(3.0, -3.0)
    (10, 0, None)
    """
    if not (is_finite(a) and is_finite(b)) or a == 0 or b == 0:
        return 0
    total = abs(Fraction(a) + Fraction(b))
    if total == 0:
        return None
    lost = floor_log2(max(abs(Fraction(a)), abs(Fraction(b)))) - floor_log2(total)
    return lost if lost >= 2 else 0
