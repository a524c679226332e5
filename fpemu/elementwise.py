"""Operations on carriers, element by element, each rounded once to the result's format.

For operands of at most p bits and a result of p <= 25 bits, +, -, *, / and square root computed
in float64 and then rounded to nearest even give the same as one rounding of the exact result,
because 53 >= 2p + 2 (Figueroa 1995; the products are even exact). Other rounding modes, the fused
multiply-add and the flags do not have that luck: for them the float64 result is first made *odd*,
its last bit telling on which side of it the exact result lies, and no later rounding to 51 bits or
fewer can then go wrong (Boldo and Melquiond 2008); see `residual.py`. FP64 to nearest even is the
processor's own. Anything else takes the exact reference, element by element: slow, but right.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from fpemu import context, convert, exact, flags, functions, fused, reporting, residual
from fpemu.carriers import carrier_dtype, has_step64
from fpemu.chance import Chance
from fpemu.convert import round_to, without_subnormals
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import FP64, Format
from fpemu.reporting import report

ARITHMETIC = exact.OPERATIONS
TRANSCENDENTAL = exact.FUNCTIONS
# Operations whose float64 result is exact for operands that fit.
_EXACT_IN_FLOAT64 = ("fmod", "remainder", "minimum", "maximum", "minimum_number", "maximum_number")
# Numbers on this grid are integers, and everything above its first binade is one already.
_INTEGERS = Format("integers", 9, 30, bias=-29, encoding="finite")


def apply(
    op: str,
    *operands: np.ndarray,
    f: Format,
    rounding: str = "nearest_even",
    saturation: str = "none",
    subnormals: str = "gradual",
    chance: Chance | None = None,
    place: str = "",
    count_as: str | None = None,
) -> np.ndarray:
    """`op` on carriers whose values belong to `f`, broadcast as NumPy does; the result's carrier.

    `op` is one of `ARITHMETIC` or `TRANSCENDENTAL`; all are correctly rounded in every mode, but for
    exp and log of FP64 to nearest even, which err by less than one last place. NaN and infinities as IEEE 754: x/0 is an infinity, 0/0 NaN. Events are counted at `place` under the
    operation's name, or under `count_as`.
    """
    settings: dict[str, Any] = {
        "rounding": rounding,
        "saturation": saturation,
        "subnormals": subnormals,
    }
    watched = reporting.watched()
    if not watched and rounding == "nearest_even" and subnormals == "gradual":
        direct = fused.apply(op, tuple(map(np.asarray, operands)), f, saturation)
        if direct is not None:
            return direct
    wide = _widened(operands, f)
    if "daz" in subnormals:
        wide = tuple(without_subnormals(v, f) for v in wide)
    chance = chance or Chance()
    if not _fits(f, rounding, chance) and not _is_native64(op, f, rounding, saturation):
        return _by_reference(op, wide, f, settings, chance, watched, place, count_as)
    with np.errstate(all="ignore"):
        source, inexact = _exact_enough(op, wide, f, rounding, chance, watched)
    out = round_to(source, f, **settings, chance=chance, count=False)
    if watched:
        tininess = context.current().tininess
        seen = _seen(op, wide, source, out, inexact, f, settings, chance, tininess)
        report(place, op, source, out, f, saturation, seen, wide, count_as)
    return out


def apply_between(
    op: str,
    operands: tuple[np.ndarray, ...],
    formats: tuple[Format, ...],
    f: Format,
    *,
    rounding: str,
    saturation: str,
    subnormals: str,
    chance: Chance | None = None,
    place: str = "",
    count_as: str | None = None,
) -> np.ndarray:
    """`op` ("convert" or one of `residual.NUMPY`) on values of several `formats`, rounded once to `f`.

    Events are counted as in `apply`.
    """
    settings: dict[str, Any] = {
        "rounding": rounding,
        "saturation": saturation,
        "subnormals": subnormals,
    }
    options: dict[str, Any] = {"chance": chance, "place": place}
    if op == "convert":
        (x,) = operands
        values = without_subnormals(x, formats[0]) if "daz" in subnormals else np.asarray(x)
        return round_to(values, f, **settings, **options, op=count_as or op)
    if all(g == f for g in formats):
        return apply(op, *operands, f=f, **settings, **options, count_as=count_as)
    everyone = (*formats, f)
    fits64 = all(g.fits_float64 for g in everyone)
    wide = tuple(
        np.broadcast_arrays(*(np.asarray(v, float if fits64 else object) for v in operands))
    )
    if "daz" in subnormals:
        wide = tuple(without_subnormals(v, g) for v, g in zip(wide, formats, strict=True))
    chance = chance or Chance()
    # The operands have been read already.
    kept = {**settings, "subnormals": "ftz" if "ftz" in subnormals else "gradual"}
    if f == FP64 and fits64:  # which holds them all
        return apply(op, *wide, f=f, **kept, chance=chance, place=place, count_as=count_as)
    moderate = all(g.emin - g.fraction_bits >= -300 and g.emax <= 300 for g in everyone)
    product = op not in ("multiply", "fma") or formats[0].precision + formats[1].precision <= 53
    random = chance.random_bits + 2 if rounding == "stochastic" else 0
    watched = reporting.watched()
    if moderate and product and has_step64(f) and f.precision + random <= 51:
        with np.errstate(all="ignore"):
            if watched:
                source, inexact = residual.odd(op, *wide)
            else:
                source = residual.odd_only(op, *wide)
        if rounding == "toward_negative":
            source = residual.minus_zero_of_cancellation(op, source, *wide)
        out = round_to(source, f, **settings, chance=chance, count=False)
        if watched:
            tininess = context.current().tininess
            seen = _seen(op, wide, source, out, inexact, f, settings, chance, tininess)
            report(place, op, source, out, f, saturation, seen, count_as=count_as)
        return out
    return _by_reference(op, wide, f, kept, chance, watched, place, count_as)


def flags_of(
    op: str,
    *operands: np.ndarray,
    f: Format,
    tininess: str = "after",
    chance: Chance | None = None,
    **settings,
) -> np.ndarray:
    """The IEEE exceptions of `op` for each element, as uint8 of `flags.Flag` bits."""
    flags.check_tininess(tininess)
    wide = _widened(operands, f)
    if "daz" in settings.get("subnormals", "gradual"):
        wide = tuple(without_subnormals(v, f) for v in wide)
    rounding = settings.get("rounding", "nearest_even")
    chance = chance or Chance()
    if not _fits(f, rounding, chance):
        return flags.as_bits(_seen_by_reference(op, wide, f, settings, chance, tininess))
    with np.errstate(all="ignore"):
        source, inexact = _exact_enough(op, wide, f, rounding, chance, True)
    out = round_to(source, f, **settings, chance=chance, count=False)
    return flags.as_bits(_seen(op, wide, source, out, inexact, f, settings, chance, tininess))


def _widened(operands, f: Format) -> tuple[np.ndarray, ...]:
    """The operands as float64 (object, where that cannot hold them), in one shape."""
    dtype = np.float64 if f.fits_float64 else object
    return tuple(np.broadcast_arrays(*(np.asarray(v, dtype) for v in operands)))


def _fits(f: Format, rounding: str, chance: Chance) -> bool:
    """Whether float64 and its error terms have room for operations on values of `f`."""
    if rounding == "stochastic" and chance.random_bits + 2 > 52 - f.fraction_bits:
        return False  # the last of the random bits would meet bits that float64 has not kept
    return (
        f.precision <= 25 and has_step64(f) and f.emin - f.fraction_bits >= -300 and f.emax <= 300
    )


def _is_native64(op: str, f: Format, rounding: str, saturation: str) -> bool:
    """Whether the processor's own operation is right for FP64."""
    if f != FP64 or op in ("modulo", "floor_divide"):
        return False
    if op in _EXACT_IN_FLOAT64:
        return True
    if op in TRANSCENDENTAL and op not in functions.IN_FP64:
        return False
    nearest = rounding == "nearest_even" and op not in ("fma", "round_to_integer")
    # NumPy's infinity may be an overflow, which "propagate" treats otherwise.
    return nearest and saturation != "propagate"


def _exact_enough(op, wide, f, rounding, chance, watched):
    """The result in float64, exact or odd (or, where that is harmless, rounded), and a mask of
    the elements that are not exact (None: all are, or nobody wants to know)."""
    if op in TRANSCENDENTAL:
        if f == FP64:
            return functions.within_an_ulp(op, wide[0]), None
        return functions.nearly(op, wide, f, rounding, chance, watched)
    if op == "round_to_integer":
        whole = round_to(
            wide[0], _INTEGERS, "finite", rounding=rounding, chance=chance, count=False
        )
        source = np.where(np.isfinite(wide[0]), whole, wide[0])
        return source, None
    if op == "modulo":
        rest = np.fmod(*wide)
        other_sign = (rest != 0) & (np.signbit(rest) != np.signbit(wide[1]))
        zero = np.copysign(0.0, wide[1])
        base = np.where(np.isnan(rest), rest, np.where(rest == 0, zero, rest))
        shift = np.where(other_sign, wide[1], 0.0)
        source, inexact = residual.odd("add", base, shift)
        return np.where(other_sign, source, base), inexact & other_sign
    if op == "floor_divide":
        return _floor_of_quotient(*wide)
    if op in _EXACT_IN_FLOAT64:
        return _EXACT[op](*wide), None
    if f == FP64 or (rounding == "nearest_even" and op != "fma" and not watched):
        return residual.NUMPY[op](*wide), None
    changed: np.ndarray | None = None
    if _is_exact_in_float64(op, f):
        source = np.asarray(residual.NUMPY[op](*wide))
    elif not watched:
        source = residual.odd_only(op, *wide)
    else:
        source, changed = residual.odd(op, *wide)
    if rounding == "toward_negative":
        source = residual.minus_zero_of_cancellation(op, source, *wide)
    return source, changed


def _is_exact_in_float64(op: str, f: Format) -> bool:
    """Whether float64 holds every result of `op` on values of `f`, which `_fits`: products are short
    enough, and sums if the format spans few enough binades."""
    if op == "multiply":
        return 2 * f.precision <= 53
    return op in ("add", "subtract") and f.emax + 2 - (f.emin - f.fraction_bits) <= 53


def _floor_of_quotient(a: np.ndarray, b: np.ndarray):
    """floor(a / b). Where the quotient, made odd, is below 2**52, its floor is that of the exact one,
    because no integer there has an odd last bit; beyond, the reference decides."""
    quotient, inexact = residual.odd("divide", a, b)
    source = np.floor(quotient)
    apart = np.isinf(b) & np.isfinite(a) & (a != 0) & (np.signbit(a) != np.signbit(b))
    source = np.where(apart, -1.0, source)
    large = inexact & (np.abs(quotient) >= 2.0**52)
    cut = np.zeros(source.shape, bool)
    for i in np.flatnonzero(large):
        value, _ = exact.exact_result("floor_divide", float(a.flat[i]), float(b.flat[i]))
        source.flat[i] = exact.round_to(value, FP64, rounding="to_odd")
        cut.flat[i] = source.flat[i] != value
    return source, cut


def _remainder(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - n*b for the integer n nearest to a/b, by C's exact remainder; NaN where IEEE has it."""
    defined = np.isfinite(a) & (b != 0) & ~np.isnan(b)
    out = np.full(a.shape, np.nan)
    pairs = zip(a[defined].tolist(), b[defined].tolist(), strict=True)
    out[defined] = [math.remainder(x, y) for x, y in pairs]
    return out


def _smaller(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smaller number, -0 being smaller than +0; NaN if either is."""
    smaller = np.where((a < b) | ((a == b) & np.signbit(a)), a, b)
    return np.where(np.isnan(a) | np.isnan(b), np.nan, smaller)


def _number_of(choose):
    """NaN counts as missing (minimumNumber, maximumNumber)."""

    def chosen(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(a), b, np.where(np.isnan(b), a, choose(a, b)))

    return chosen


def _larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return -_smaller(-a, -b)


_EXACT = {
    "fmod": np.fmod,
    "remainder": _remainder,
    "minimum": _smaller,
    "maximum": _larger,
    "minimum_number": _number_of(_smaller),
    "maximum_number": _number_of(_larger),
}


# -- what happened --------------------------------------------------------------------------------


def _seen(op, wide, source, out, inexact, f, settings, chance, tininess="after") -> flags.Seen:
    """The exceptions of each element, from the result before and after rounding."""
    if f == FP64:
        return _seen64(op, wide, source, f, settings, tininess)
    seen = convert.exceptions(
        source, out, f, **settings, chance=chance, tininess=tininess, already_inexact=inexact
    )
    if op == "round_to_integer":
        seen["inexact"] = seen["inexact"] | (np.isfinite(wide[0]) & (source != wide[0]))
    return _with_signals(op, wide, source, seen)


def _with_signals(op, wide, source, seen: flags.Seen) -> flags.Seen:
    """Add what the operation itself signals; such an element signals nothing else."""
    invalid = np.isnan(source)
    if invalid.any():
        invalid &= ~np.any([np.isnan(v) for v in wide], axis=0)
    if op == "fma":  # infinity times zero is invalid whatever is added
        a, b, _ = wide
        invalid |= (np.isinf(a) & (b == 0)) | ((a == 0) & np.isinf(b))
    by_zero = np.zeros(source.shape, bool)
    if op in ("divide", "floor_divide"):
        by_zero = (wide[1] == 0) & np.isfinite(wide[0]) & (wide[0] != 0)
    elif op in TRANSCENDENTAL:
        by_zero = functions.is_pole(op, wide)
    elsewhere = ~(invalid | by_zero)
    if not elsewhere.all():
        seen = {name: mask & elsewhere for name, mask in seen.items()}
    seen["invalid"] = seen["invalid"] | invalid
    seen["divide_by_zero"] = by_zero
    return seen


def _seen64(op, wide, source, f, settings, tininess) -> flags.Seen:
    """FP64, where float64 is no wider: the error terms where they are exact, else the reference."""
    none = np.zeros(source.shape, bool)
    seen = {name: none.copy() for name in ("inexact", "underflow", "overflow", "invalid")}
    near = np.all([residual.is_moderate(v) for v in (*wide, source)], axis=0)
    if op in residual.NUMPY:
        seen["inexact"] = near & residual.is_inexact(op, source, *wide)
    elif op in functions.IN_FP64:
        seen["inexact"] = near & (wide[0] != functions.IN_FP64[op])
    elif op not in _EXACT_IN_FLOAT64:
        near = none
    seen["divide_by_zero"] = none.copy()
    far = np.flatnonzero(~near)
    chosen = tuple(v.reshape(-1)[far] for v in wide)
    for name, mask in _seen_by_reference(op, chosen, f, settings, Chance(), tininess).items():
        seen[name].reshape(-1)[far] = mask
    return seen


def _by_reference(op, wide, f, settings, chance, watched, place, count_as) -> np.ndarray:
    out = np.empty(wide[0].shape, carrier_dtype(f))
    flat = out.reshape(-1)
    for i, numbers in enumerate(_rows(wide)):
        away = chance.away(i) if settings["rounding"] == "stochastic" else None
        flat[i] = exact.compute(op, *numbers, f=f, away=away, **settings)
    if watched:
        tininess = context.current().tininess
        seen = _seen_by_reference(op, wide, f, settings, chance, tininess)
        sources, saturation = _sources(op, wide), settings["saturation"]
        report(place, op, sources, out, f, saturation, seen, wide, count_as)
    return out


def _sources(op: str, wide) -> np.ndarray:
    """The exact results as float64, made odd: good enough to tell zeros and exponents."""
    values = []
    for numbers in _rows(wide):
        value, _ = exact.exact_result(op, *numbers)
        if isinstance(value, Fraction):
            value = exact.round_to(value, FP64, rounding="to_odd")
        values.append(float(value))
    return np.array(values).reshape(wide[0].shape)


def _rows(wide):
    """The operands of each element as Python's numbers."""
    return zip(*(v.reshape(-1).tolist() for v in wide), strict=True)


def _seen_by_reference(op, wide, f, settings, chance, tininess) -> flags.Seen:
    shape = np.shape(wide[0])
    seen = {name: np.zeros(shape, bool) for name in exact.FLAGS}
    for i, numbers in enumerate(_rows(wide)):
        away = chance.away(i) if settings.get("rounding") == "stochastic" else None
        for name in exact.flags_of_operation(
            op, *numbers, f=f, tininess=tininess, away=away, **settings
        ):
            seen[name].reshape(-1)[i] = True
    return seen


def check_op(op: str, operands: int) -> None:
    """Raise `ArgumentError` unless `op` is an operation and takes so many `operands`."""
    if op not in exact.OPERANDS:
        raise unknown("operation", op, exact.OPERANDS)
    if operands != exact.OPERANDS[op]:
        raise ArgumentError(f"{op} takes {exact.OPERANDS[op]} operands, got {operands}")
