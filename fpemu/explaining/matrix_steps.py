"""One step of a matrix unit told: what is aligned to what, which bits are cut off, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from fpemu import exact
from fpemu.accumulation import Accumulator
from fpemu.arrays import Array, array, asarray
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.exact import accumulation as sums
from fpemu.exact import matrix_units as units
from fpemu.explaining.aligned import Row, aligned
from fpemu.explaining.report import Explanation, Section, columns
from fpemu.explaining.terms import listed
from fpemu.formats import FP32, Format
from fpemu.linalg.options import model_of_products
from fpemu.matrix_units import Instruction
from fpemu.reals import Real, written

_SHOWN = 40  # addends


def explain_step(a: object, b: object, c: object, unit: object, f: object) -> Explanation:
    """See `Explainer.matrix_step`."""
    given = (listed(v, "explain.matrix_step") for v in (a, b))
    x, y = (array(v, f) if f is not None else asarray(v) for v in given)
    if x.shape != y.shape:
        raise ArgumentError(
            f"matrix_step takes two vectors of one length, got {x.shape} and {y.shape}"
        )
    made = model_of_products(unit, "sequential", None, x.format, y.format)
    if not isinstance(made, Instruction):
        raise ArgumentError(f"unit must be a matrix unit, as fp.matrix_unit('h100'), got {unit!r}")
    if made.arithmetic != "truncating":
        raise UnsupportedError(
            f"{made} has no truncating step to be explained: its arithmetic is {made.arithmetic!r}; "
            "see fpemu.exact.matrix_units"
        )
    if not 0 < x.size <= made.length:
        raise ArgumentError(
            f"one step of {made} takes 1 to {made.length} products, got {x.size}; longer sums are chains of "
            "such steps"
        )
    start = array(listed([c], "explain.matrix_step"), made.accumulator).item()
    return _told(x, y, start, made)


def _told(x: Array, y: Array, c: Real, made: Instruction) -> Explanation:
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    step = units.truncating(pairs, c, made)
    ordinary = _ordinary(pairs, x.format, y.format, c)
    sections: list[Section] = [("unit", [[line] for line in _unit_lines(made)])]
    facts: dict[str, Any] = {
        "unit": str(made),
        "evidence": made.evidence,
        "products": [written(_product(*pair)) for pair in pairs],
        "c": written(c),
    }
    if not isinstance(step, units.Step):
        sections.append(
            ("specials", [["NaN or infinities among the operands decide before any sum"]])
        )
        sections.append(("result", [[_shown(step, made.accumulator)]]))
        return Explanation.of(f"one step of {made}", sections, facts, step)
    rows, alignment = [["", "value", "exponent", "kept", "cut off"]], []
    for name, addend in zip(_names(pairs), step.addends, strict=True):
        kept = addend.kept * Fraction(2) ** step.unit
        cut = addend.value - kept
        exponent = "-" if addend.exponent is None else str(addend.exponent)
        rows.append(
            [name, written(_short(addend.value)), exponent, str(addend.kept), written(_short(cut))]
        )
        if addend.value:
            label = name.split(" = ")[0]
            last = min(addend.place, step.unit) if addend.kept else addend.place
            alignment.append(Row(label, addend.value < 0, abs(addend.value), last))
    exact_sum = sum((p.value for p in step.addends), Fraction(0))
    total = step.total * Fraction(2) ** step.unit
    floored = step.exponent == made.floor
    why = "the floor of this unit" if floored else "the largest exponent"
    sections += [
        ("addends", columns(rows[:_SHOWN])),
        (
            "alignment",
            [
                [
                    f"to exponent {step.exponent}, {why}; a unit is 2**{step.unit}, {made.bits} bits below"
                ],
                *([[line] for line in aligned(alignment, step.unit)] if alignment else []),
                ["what stands behind the bar is cut off, from magnitudes"],
            ],
        ),
        (
            "sum",
            [
                [f"{step.total} units = {written(_short(total))}"],
                [f"exactly: {written(_short(exact_sum))}"],
            ],
        ),
        ("rounding", [[_ending(made)]]),
        ("result", [[_shown(step.result, made.accumulator)]]),
        ("fp32", [[f"one by one, every sum rounded to nearest even: {_shown(ordinary, FP32)}"]]),
        (
            "once",
            [[f"the exact sum rounded once: {_shown(exact.round_to(exact_sum, FP32), FP32)}"]],
        ),
    ]
    facts |= {
        "exponent": step.exponent,
        "unit_exponent": step.unit,
        "kept": [p.kept for p in step.addends],
        "exponents": [p.exponent for p in step.addends],
        "sum": step.total,
        "exact_sum": written(_short(exact_sum)),
        "fp32": written(ordinary),
    }
    return Explanation.of(f"one step of {made}", sections, facts, step.result)


def _unit_lines(made: Instruction) -> list[str]:
    return [
        f"{made.length} products and c at once, {made.bits} bits kept below the largest exponent",
        f"known from: {made.evidence}; not run on hardware by fpemu",
    ]


def _ending(made: Instruction) -> str:
    how = "to nearest even" if made.nearest else "toward zero"
    bits = (
        f", {made.output.fraction_bits} bits of fraction" if made.output != made.accumulator else ""
    )
    return (
        f"{how} to {made.accumulator.name}{bits}; overflow gives infinity, and a zero is positive"
    )


def _names(pairs: Sequence[tuple[Real, Real]]) -> list[str]:
    named = [f"p{i} = {written(x)} * {written(y)}" for i, (x, y) in enumerate(pairs)]
    return [*named, "c"]


def _product(x: Real, y: Real) -> Any:
    return exact.exact_result("multiply", x, y)[0]


def _ordinary(pairs, f: Format, g: Format, c: Real) -> Real:
    """The sum as an FP32 loop with fused multiply-adds makes it."""
    model = Accumulator(
        FP32, product="exact", rounding="nearest_even", saturation="none", subnormals="gradual"
    )
    terms = [((x, f), (y, g)) for x, y in pairs]
    return sums.accumulate(terms, model, (c, FP32))


def _short(x: Fraction) -> Real:
    return float(x) if Fraction(float(x)) == x else x


def _shown(x: Real, f: Format) -> str:
    return f"{written(x)}  {exact.encode(x, f):#0{f.bits // 4 + 2}x}"
