"""NVIDIA's steps told: truncating sums, FP8 in software, block-scaled products."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from fpemu import exact
from fpemu.exact import matrix_units as units
from fpemu.explaining.matrix_steps.operands import Operands
from fpemu.explaining.matrix_steps.sums import Addend, Rules, Sum, Told, largest, placed
from fpemu.formats import Format
from fpemu.reals import Real, is_finite, written


def products_of(given: Operands, which: range | None = None) -> list[Addend]:
    """The products, with exponents of multipliers that do not normalise: 1.5 * 1.5 has exponent 0."""
    made, addends = given.unit, []
    for k in which if which is not None else range(len(given.pairs)):
        x, y = given.pairs[k]
        value, exponent = Fraction(x) * Fraction(y), None
        if value:
            exponent = units.exponent_of(x, made.a) + units.exponent_of(y, made.b)
        addends.append(Addend(f"p{k}", value, exponent, f"{written(x)} * {written(y)}"))
    return addends


def accumulator(c: Real, f: Format, label: str = "c") -> Addend:
    """The accumulator as an addend."""
    value = Fraction(c)
    exponent = units.exponent_of(c, f) if value else None
    return Addend(label, value, exponent, accumulator=True)


def truncating(given: Operands, off: Rules) -> Told:
    """All products and c in one sum."""
    addends = [*products_of(given), accumulator(given.c, given.unit.accumulator)]
    total = truncated("products and c", addends, given.unit, off)
    return Told((total,), total.result)


def truncated(name: str, addends: list[Addend], made: Any, off: Rules) -> Sum:
    """Addends cut off `bits` below their largest exponent, and their sum rounded."""
    top, low = largest(addends), made.floor
    floor = top is None or (top < low and "floor" not in off)
    exponent = low if floor else top
    assert exponent is not None
    unit = exponent - made.bits
    kept = tuple(placed(addends, unit, off))
    why = "the floor of this unit" if exponent == low else "the largest exponent"
    ended = replace(
        made,
        output=made.accumulator if "fraction" in off else made.output,
        nearest=made.nearest or "zero" in off,
    )
    exactly = sum((p.kept for p in kept), Fraction(0))
    # Halves of a software sequence that are not rounded are no values of a format.
    result: Any = exactly if "between" in off else units.rounded(exactly, ended)
    return Sum(
        name,
        kept,
        f"to exponent {exponent}, {why}; a unit is 2**{unit}, {made.bits} bits below",
        _ending(ended),
        ended.output,
        result,
        exponent,
        unit,
    )


def _ending(made: Any) -> str:
    how = "to nearest even" if made.nearest else "toward zero"
    bits = (
        f", {made.output.fraction_bits} bits of fraction" if made.output != made.accumulator else ""
    )
    return (
        f"{how} to {made.accumulator.name}{bits}; overflow gives infinity, and a zero is positive"
    )


def software(given: Operands, off: Rules) -> Told:
    """FP8 by ``mma.sync`` on Hopper and B200: operands become FP16, two FP16 steps sum the products 0, 1,
    4, 5, ... and 2, 3, 6, 7, ..., and c is added at last."""
    inner, f = given.unit.inner, given.unit.output
    wide = replace(given, unit=inner)
    x: Any = 0.0
    sums: list[Sum] = []
    for first, name in ((0, "first HMMA"), (2, "second HMMA")):
        which = [k for k in range(len(given.pairs)) if k % 4 in (first, first + 1)]
        addends = [products_of(wide, range(k, k + 1))[0] for k in which]
        if first:
            addends.append(accumulator(x, inner.accumulator, "x"))
        half = truncated(name, addends, inner, off)
        sums.append(half)
        x = half.result
        if not is_finite(x):
            return Told(tuple(sums), _added(x, given.c, f))
    both = (replace(accumulator(x, f, "x"), accumulator=False), accumulator(given.c, f))
    result = _added(x, given.c, f)
    op = "FADD" if f.bits == 32 else "HADD2"
    sums.append(Sum(op, both, "c comes last, exactly", f"to nearest even to {f.name}", f, result))
    return Told(tuple(sums), result)


def _added(x: Any, c: Any, f: Format) -> Real:
    return exact.round_to(exact.exact_result("add", x, c)[0], f)


def scaled(given: Operands, off: Rules) -> Told:
    """Products whose exponents take in those of their blocks' scales before the alignment."""
    made = given.unit
    addends = []
    for k, product in enumerate(products_of(given)):
        scales = given.scales[k // made.block]
        each = Fraction(scales[0]) * Fraction(scales[1])
        value, exponent = product.value * each, None
        if value:
            exponent = (product.exponent or 0) + _exponent(scales, made.scale)
        what = f"{product.what} * {written(scales[0])} * {written(scales[1])}"
        addends.append(Addend(product.label, value, exponent, what))
    total = truncated(
        "products and c", [*addends, accumulator(given.c, made.accumulator)], made, off
    )
    return Told((total,), total.result)


def groups(given: Operands, off: Rules) -> Told:
    """FP4: sums of 16 products and their multiples by two scales are exact; the scales' exponents alone
    say where they are aligned."""
    made, addends = given.unit, []
    products = products_of(given)
    for g, start in enumerate(range(0, len(products), 16)):
        scales = given.scales[start // made.block]
        group = products[start : start + 16]
        each = Fraction(scales[0]) * Fraction(scales[1])
        value = sum((p.value for p in group), Fraction(0)) * each
        there = any(p.value for p in group) and each
        what = f"(p{start} + ... + p{start + 15}) * {written(scales[0])} * {written(scales[1])}"
        exponent = _exponent(scales, made.scale) if there else None
        addends.append(Addend(f"g{g}", value, exponent, what))
    total = truncated("groups and c", [*addends, accumulator(given.c, made.accumulator)], made, off)
    return Told((total,), total.result)


def _exponent(scales: tuple[Real, Real], f: Format) -> int:
    return sum(units.exponent_of(scale, f) for scale in scales)
