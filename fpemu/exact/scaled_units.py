"""Block-scaled products of Blackwell's matrix units on one element: MX formats and NVFP4.

Products of a block share two scales, one of each operand. In steps of 32 ("scaled") the scales' exponents
are added to those of the products before the alignment. FP4 instructions take 64 products in four groups
of 16 ("scaled_groups"): a group's sum and its multiplication by the significands of the scales are exact,
and the scales' exponents alone say where it is aligned.

Source: MMA-Sim, arXiv 2511.10909 v2 (simulator only; nothing here is confirmed by published outputs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from fpemu.exact.matrix_units import _truncated, exponent_of, rounded, special_of
from fpemu.formats import Format
from fpemu.reals import Real, is_finite, is_nan

GROUP = 16


def scaled_unit(
    a: Sequence[Real],
    b: Sequence[Real],
    scales_a: Sequence[Real],
    scales_b: Sequence[Real],
    c: Real,
    instruction: Any,
) -> Real:
    """``c`` and the sum of ``a[k] * b[k] * scales_a[k // block] * scales_b[k // block]``, K being a whole
    number of blocks. A scale that is NaN makes the result NaN."""
    block = instruction.block
    zeros = [0.0] * (-len(a) % instruction.length)
    a, b = [*a, *zeros], [*b, *zeros]
    ones = [1.0] * (len(a) // block - len(scales_a))
    scales_a, scales_b = [*scales_a, *ones], [*scales_b, *ones]
    size = GROUP if instruction.arithmetic == "scaled_groups" else 1
    for start in range(0, len(a), instruction.length):
        addends: list[tuple[Fraction, int]] = []
        special: Any = 0.0  # as in `matrix_units.special_of`
        for k in range(start, start + instruction.length, size):
            pairs = list(zip(a[k : k + size], b[k : k + size], strict=True))
            scales = scales_a[k // block], scales_b[k // block]
            found = math.nan if any(map(is_nan, scales)) else special_of(pairs, 0.0)
            if found is not None:
                special += found
            elif any(x and y for x, y in pairs) and all(scales):
                addends.append(_addend(pairs, scales, instruction, size > 1))
        if not is_finite(c):
            special += c
        c = special if special != 0 else _step(addends, c, instruction)
    return c


def _addend(pairs: list, scales: tuple, instruction: Any, group: bool) -> tuple[Fraction, int]:
    """The exact value of a product or group, scales included, and its exponent for the alignment."""
    value = sum((Fraction(x) * Fraction(y) for x, y in pairs), Fraction(0))
    value *= Fraction(scales[0]) * Fraction(scales[1])
    exponent = sum(exponent_of(s, instruction.scale) for s in scales)
    if not group:
        (x, y), formats = pairs[0], (instruction.a, instruction.b)
        exponent += sum(exponent_of(v, f) for v, f in zip((x, y), formats, strict=True))
    return value, exponent


def _step(addends: list[tuple[Fraction, int]], c: Real, instruction: Any) -> Real:
    f: Format = instruction.accumulator
    everything = [*addends, *([(Fraction(c), exponent_of(c, f))] if c else [])]
    unit = max([instruction.floor, *(e for _, e in everything)]) - instruction.bits
    total = sum(_truncated(value, unit) for value, _ in everything)
    return rounded(total * Fraction(2) ** unit, instruction)
