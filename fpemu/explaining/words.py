"""The sentences of an explanation: why a mode decides so, and what each rule then does."""

from __future__ import annotations

from fractions import Fraction

from fpemu import exact
from fpemu.chance import Chance
from fpemu.context import Arithmetic
from fpemu.explaining.numbers import expansion, portion
from fpemu.explaining.steps import Grid, Outcome, chances
from fpemu.formats import Format
from fpemu.reals import Number, is_finite, is_infinite, is_nan, is_negative, with_sign_of

HALF = Fraction(1, 2)


def why(x: Number, grid: Grid, settings: Arithmetic, away: bool | None) -> str:
    """Why the mode takes the neighbour that it takes, for a number between two."""
    mode, tie = settings.rounding, grid.rest == HALF
    taken = _signed(grid.outer if away else grid.inner, x)
    match mode:
        case "nearest_even" | "nearest_away" if not tie:
            return f"{mode} takes the nearer neighbour, {taken}"
        case "nearest_even":
            return f"a tie: nearest_even takes the neighbour whose last bit is 0, {taken}"
        case "nearest_away":
            return f"a tie: nearest_away takes the neighbour of larger magnitude, {taken}"
        case "toward_zero":
            return f"toward_zero takes the neighbour of smaller magnitude, {taken}, however far"
        case "toward_positive":
            return f"toward_positive takes the upper neighbour, {taken}, however far"
        case "toward_negative":
            return f"toward_negative takes the lower neighbour, {taken}, however far"
        case "to_odd":
            return (
                f"to_odd, for what is between numbers, takes the one whose last bit is 1, {taken}"
            )
    return f"by chance: {taken}"


def by_chance(x: Number, grid: Grid, chance: Chance, drawn: bool) -> list[str]:
    """The probabilities of stochastic rounding, and the draw for element 0 if there is one."""
    bits, p = chance.random_bits, chances(grid.rest, chance)
    inner, outer = _signed(grid.inner, x), _signed(grid.outer, x)
    lines = [
        f"stochastic takes {outer} with probability {portion(p)}, {inner} with probability "
        f"{portion(1 - p)}"
    ]
    if portion(p) != portion(grid.rest):
        lines.append(
            f"(the exact part is {portion(grid.rest)}; {bits} random bits by variant "
            f"{chance.variant} make that of it)"
        )
    if drawn:
        draw = exact.random_integer(0, chance.seed, bits)
        taken = outer if chance.away(0)(grid.rest) else inner
        least = (1 << bits) - int(p * (1 << bits))
        lines.append(
            f"seed {chance.seed} draws {draw} of 0 to 2**{bits} - 1 for element 0; from {least} on "
            f"it is {outer}: so {taken}"
        )
    else:
        lines.append("give seed= to see what is drawn for element 0")
    return lines


def overflow_limit(x: Number, f: Format, mode: str) -> str:
    """From where on finite numbers of the sign of `x` overflow in `mode`."""
    top = Fraction(f.max)
    unit = Fraction(2) ** (f.emax - f.fraction_bits)
    odd = f.max_code % 2 == 1
    largest, tie = expansion(f.max), expansion(top + unit / 2)
    negative = is_negative(x)
    sign = "-" if negative else ""
    if mode in ("nearest_even", "nearest_away"):
        limit = f"{sign}{tie} is the tie beyond the largest number, {sign}{largest}, and {mode}"
        if exact.rounds_away(odd, HALF, negative, mode):
            return f"{limit} overflows from there on"
        return f"{limit} takes it down to that; what lies further overflows"
    if mode == "stochastic":
        beyond = expansion(top + unit)
        return f"from {sign}{largest} to {sign}{beyond} chance decides, further on all overflows"
    if mode == "toward_zero" or (mode == "toward_positive" and negative):
        return f"{mode} never goes beyond the largest number, {sign}{largest}"
    if mode == "toward_negative" and not negative:
        return f"{mode} never goes beyond the largest number, {sign}{largest}"
    return f"in {mode} everything beyond the largest number, {sign}{largest}, overflows"


def after(
    x: Number, f: Format, grid: Grid, result: Outcome, settings: Arithmetic
) -> list[tuple[str, list[str]]]:
    """What the format and the settings do with the rounded number: label and sentences."""
    got = said(result.result)
    match result.rule:
        case "overflow":
            point = expansion(result.on_grid)
            lines = [f"judged after rounding: {point} is beyond the largest number"]
            lines.append(_overflow(x, f, result, settings))
            return [("overflow", [*lines, overflow_limit(x, f, settings.rounding)])]
        case "flushed":
            normal = expansion(f.smallest_normal)
            rule = f"{settings.subnormals}: a result below the smallest normal, {normal}, becomes 0"
            return [("subnormal", [f"{rule}, here {got}"])]
        case "below range":
            lack = "no negative numbers" if x < 0 else "no zero"
            return [("range", [f"{f.name} has {lack}: {_missing(result, settings)}"])]
        case "smallest":
            return [("range", [f"{f.name} has no zero: the result is its smallest number, {got}"])]
        case "zero sign":
            return [("sign", [f"{f.name} has no -0: the result is +0"])]
    if grid.rest and grid.outer > Fraction(f.max):
        limit = overflow_limit(x, f, settings.rounding)
        return [("overflow", ["none: it is judged after rounding", limit])]
    return []


def _overflow(x: Number, f: Format, result: Outcome, settings: Arithmetic) -> str:
    """Why the overflow became what it did."""
    got, mode = said(result.result), settings.rounding
    negative = is_negative(x)
    bare = with_sign_of(exact.overflow_of(f, negative, mode, "none"), x)
    if settings.saturation != "none":
        saturated = f"saturation {settings.saturation!r} takes the largest number, {got}"
        return saturated if bare == result.result else f"{saturated}, instead of {said(bare)}"
    if is_infinite(bare):
        return f"saturation 'none': the result is {got}"
    if is_nan(bare):
        return f"saturation 'none', and {f.name} has no infinity: the result is NaN"
    if mode.startswith("toward"):
        return f"{mode} goes no further than the largest number, {got}"
    if mode == "to_odd" and (f.max_code % 2 or f.has_nan):
        why = "whose last bit is 1" if f.max_code % 2 else "rather than NaN"
        return f"to_odd takes the largest number, {got}, {why}"
    lack = "no infinity" if f.has_nan else "neither infinity nor NaN"
    return f"{f.name} has {lack}: the result is the largest number, {got}"


def _missing(result: Outcome, settings: Arithmetic) -> str:
    if is_nan(result.result):
        return "saturation 'none' gives NaN"
    how = f"saturation {settings.saturation!r} gives" if settings.saturation != "none" else "it is"
    return f"{how} the smallest number, {said(result.result)}"


def of_special(x: Number, f: Format, settings: Arithmetic, result: Number | None) -> str:
    """What becomes of NaN, infinities and zeros."""
    saturation = settings.saturation
    if is_nan(x):
        if result is None:
            return (
                f"{f.name} has no NaN, so that storing it is an error; saturation 'finite' would "
                f"store the largest number, {expansion(f.max)}"
            )
        if f.has_nan:
            return "NaN stays NaN: no rounding, and no flag for a quiet one"
        return f"{f.name} has no NaN; saturation 'finite' stores the largest number, {said(result)}"
    assert result is not None
    if is_finite(x):
        if not f.has_zero:
            how = "NaN" if is_nan(result) else "its smallest number"
            return f"{f.name} has no zero; saturation {saturation!r} makes it {how}"
        if is_negative(x) and not f.has_negative_zero:
            return f"zero is exact, but {f.name} has no -0: it becomes +0"
        return f"zero is exact, and keeps its sign: {said(result)}"
    if is_infinite(result):
        return "infinity is exact: it is no overflow and stays"
    if is_negative(x) and not f.signed:
        return (
            f"{f.name} has no negative numbers; saturation {saturation!r} makes -inf {said(result)}"
        )
    if is_nan(result):
        return f"{f.name} has no infinity: it becomes NaN"
    if saturation == "finite":
        return f"saturation 'finite' takes infinity to the largest number, {said(result)}"
    lack = "no infinity" if f.has_nan else "neither infinity nor NaN"
    return f"{f.name} has {lack}: it becomes the largest number, {said(result)}"


def said(x: Number) -> str:
    """A result in a sentence."""
    return "NaN" if is_nan(x) else expansion(x)


def _signed(magnitude: Fraction, x: Number) -> str:
    return f"{'-' if is_negative(x) else ''}{expansion(magnitude)}"
