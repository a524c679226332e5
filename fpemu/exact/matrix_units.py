"""The sum of products that a matrix unit makes, on one element, in integers and Fractions.

`instruction` has the attributes of `fpemu.matrix_units.Instruction`. Nothing here is shared with the
kernels. One instruction is a chain of steps: each takes `length` products and the accumulator, and
ends in a value of the accumulator's format. What a step does is its `arithmetic`:

=============  =====================================================================================
arithmetic     one step
=============  =====================================================================================
"truncating"   products and accumulator are truncated to multiples of one unit, 2**(E - bits), E being
               their largest exponent (at least `floor`); their sum is rounded once (NVIDIA)
"software"     32 products as two truncating steps from zero, then an ordinary addition (FP8 by
               ``mma.sync`` on Hopper and B200)
"fma"          one fused multiply-add per product
"exact"        the exact sum, rounded once (AMD CDNA1)
"flushed"      rounded products and sums of pairs, subnormals becoming zeros (AMD CDNA2)
"two_grids"    the products' sum, truncated on their own grid, and the accumulator meet on a second
               grid (AMD CDNA3; "two_grids_even_odd" for its FP8)
=============  =====================================================================================

Sources: P. Xie et al., MMA-Sim, arXiv 2511.10909; F. Khattak and M. Mikaitis, arXiv 2512.07004;
M. Fasi et al., PeerJ CS 7:e330 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from fpemu.exact.operations import exact_result
from fpemu.exact.rounding import floor_log2, round_to
from fpemu.formats import FP32, Format
from fpemu.reals import Number, Real, is_finite, size_of

Pair = tuple[Real, Real]
SPECIAL_LIMIT = Fraction(2) ** 128  # CDNA3 takes products from here on for infinities


class Addend(NamedTuple):
    """A product or the accumulator as a truncating step sees it.

    ``significand * 2**place`` is its magnitude, `exponent` its exponent for the alignment (None for
    zero, which has none), `kept` the signed multiple of the step's unit that is added.
    """

    value: Fraction
    significand: int
    place: int
    exponent: int | None
    kept: int = 0


class Step(NamedTuple):
    """A truncating step: its addends (the accumulator last), the exponent that they are aligned to,
    the unit of the sum as a power of two, the integer sum, and the rounded result."""

    addends: tuple[Addend, ...]
    exponent: int
    unit: int
    total: int
    result: Real


def matrix_unit(a: Sequence[Real], b: Sequence[Real], c: Real, instruction: Any) -> Real:
    """``c + a . b`` as the instruction computes it, K padded with zeros to whole instructions.

    `a` and `b` hold values of the operands' formats, `c` one of the accumulator's. NaN comes from a NaN
    operand, zero times infinity and infinities of both signs. A zero is +0, but for "fma" and "flushed",
    which have IEEE's signs, and for negative sums that CDNA1 and CDNA3 round to zero. With `split` and
    `promote` partial sums are added in FP32, each addition rounded to nearest even.

    >>> from fpemu.matrix_units import matrix_unit as named
    >>> a, b = [1.0, -1.0, 2.0**-10], [1.0, 1.0, 2.0**-15]
    >>> [matrix_unit(a, b, 0.0, named(chip).on("fp16")) == 2.0**-25 for chip in ("a100", "h100")]
    [False, True]
    """
    if instruction.split > 1:
        size = share_of(len(a), instruction)
        shares = [slice(k, k + size) for k in range(0, len(a), size)] or [slice(0, 0)]
        total = _chained(a[shares[0]], b[shares[0]], c, instruction)
        for share in shares[1:]:
            partial = _chained(a[share], b[share], 0.0, instruction)
            total = round_to(exact_result("add", total, partial)[0], FP32)
        return total
    return _chained(a, b, c, instruction)


def share_of(count: int, instruction: Any) -> int:
    """How many products a share of split-K has: whole 64s of K, of FP8 128s."""
    grain = 128 if max(instruction.a.bits, instruction.b.bits) <= 8 else 64
    return max(math.ceil(math.ceil(count / grain) / instruction.split), 1) * grain


def _chained(a: Sequence[Real], b: Sequence[Real], c: Real, instruction: Any) -> Real:
    padding = -len(a) % instruction.multiple
    pairs = [*zip(a, b, strict=True), *[(0.0, 0.0)] * padding]
    step, length = STEPS[instruction.arithmetic], instruction.length
    if not instruction.promote:
        for k in range(0, len(pairs), length):
            c = step(pairs[k : k + length], c, instruction)
        return c
    for first in range(0, len(pairs), instruction.promote):
        part: Real = 0.0
        for k in range(first, min(first + instruction.promote, len(pairs)), length):
            part = step(pairs[k : k + length], part, instruction)
        c = round_to(exact_result("add", c, part)[0], FP32)
    return c


# -- what steps have in common -----------------------------------------------------------------


def special_of(pairs: Sequence[Pair], c: Real, limit: Fraction | None = None) -> Real | None:
    """NaN or an infinity where operands decide that alone, else None."""
    total: Any = c if not is_finite(c) else 0.0
    for x, y in pairs:
        product: Any = exact_result("multiply", x, y)[0]
        if limit is not None and is_finite(product) and abs(product) >= limit:
            product = math.copysign(math.inf, product)
        if not is_finite(product):
            total += product
    return None if total == 0 else total


def exponent_of(x: Real, f: Format) -> int:
    """The exponent that the field of `x` says: a subnormal has that of the smallest normal."""
    return max(floor_log2(abs(Fraction(x))), f.emin)


def rounded(x: Fraction, instruction: Any) -> Real:
    """`x` in the format in which a step ends. Beyond its range lies infinity whatever the rounding,
    and a zero is positive."""
    f: Format = instruction.output
    if not instruction.nearest and abs(x) >= Fraction(2) ** (f.emax + 1):
        return math.copysign(math.inf, x)
    rounding = "nearest_even" if instruction.nearest else "toward_zero"
    return round_to(x, f, rounding=rounding) or 0.0


def _truncated(x: Fraction, unit: int) -> int:
    """`x` in multiples of ``2**unit``, its magnitude rounded down."""
    size = int(abs(x) / Fraction(2) ** unit)
    return -size if x < 0 else size


def _floored(x: Fraction, unit: int) -> Fraction:
    """The largest multiple of ``2**unit`` that is not above `x`."""
    return math.floor(x / Fraction(2) ** unit) * Fraction(2) ** unit


# -- NVIDIA ------------------------------------------------------------------------------------


def truncating(pairs: Sequence[Pair], c: Real, instruction: Any) -> Step | Real:
    """One truncating step of up to `length` products; NaN or an infinity if operands decide."""
    special = special_of(pairs, c)
    if special is not None:
        return special
    addends = [_product(x, y, instruction) for x, y in pairs]
    addends.append(_single(c, instruction.accumulator))
    exponents = [p.exponent for p in addends if p.exponent is not None]
    exponent = max([instruction.floor, *exponents])
    unit = exponent - instruction.bits
    cut = tuple(p._replace(kept=_truncated(p.value, unit)) for p in addends)
    total = sum(p.kept for p in cut)
    return Step(cut, exponent, unit, total, rounded(total * Fraction(2) ** unit, instruction))


def _product(x: Real, y: Real, instruction: Any) -> Addend:
    """The product as it leaves the multiplier: not normalised, so that 1.5 * 1.5 has exponent 0."""
    left, right = _single(x, instruction.a), _single(y, instruction.b)
    return Addend(
        left.value * right.value,
        left.significand * right.significand,
        left.place + right.place,
        None if left.exponent is None or right.exponent is None else left.exponent + right.exponent,
    )


def _single(x: Real, f: Format) -> Addend:
    value = Fraction(x)
    if value == 0:
        return Addend(value, 0, f.emin - f.fraction_bits, None)
    e = exponent_of(x, f)
    place = e - f.fraction_bits
    return Addend(value, int(abs(value) / Fraction(2) ** place), place, e)


def _truncating_result(pairs: Sequence[Pair], c: Real, instruction: Any) -> Real:
    step = truncating(pairs, c, instruction)
    return step.result if isinstance(step, Step) else step


def _software(pairs: Sequence[Pair], c: Real, instruction: Any) -> Real:
    """Operands become FP16; products 0, 1, 4, 5, 8, 9, ... are summed first, then 2, 3, 6, 7, ...;
    the accumulator is added at last, by an ordinary addition."""
    x: Real = 0.0
    for first in (0, 2):
        some = [pair for k, pair in enumerate(pairs) if k % 4 in (first, first + 1)]
        x = _truncating_result(some, x, instruction.inner)
    total = exact_result("add", x, c)[0]
    return round_to(total, instruction.output)


# -- AMD, and FP64 and FP32 everywhere -----------------------------------------------------------


def _fma(pairs: Sequence[Pair], c: Real, instruction: Any) -> Real:
    for x, y in pairs:
        c = round_to(exact_result("fma", x, y, c)[0], instruction.output)
    return c


def _exact(pairs: Sequence[Pair], c: Real, instruction: Any) -> Real:
    total: Any = c
    for x, y in pairs:
        product: Any = exact_result("multiply", x, y)[0]
        total = exact_result("add", total, product)[0]
    return round_to(total or 0.0, instruction.output)  # (an exact zero is positive)


def _flushed(pairs: Sequence[Pair], c: Real, instruction: Any) -> Real:
    def read(x: Real, f: Format) -> Real:
        return 0.0 if is_finite(x) and size_of(x) < f.smallest_normal else x

    def kept(x: Number) -> Real:
        result = round_to(x, FP32)
        tiny = is_finite(result) and size_of(result) < FP32.smallest_normal
        return math.copysign(0.0, result) if tiny else result

    def add(x: Real, y: Real) -> Real:
        return kept(exact_result("add", x, y)[0])

    sums = []
    for x, y in pairs:
        product = exact_result("multiply", read(x, instruction.a), read(y, instruction.b))[0]
        sums.append(kept(product))
    while len(sums) > 1:
        sums = [add(x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
    return add(read(c, FP32), sums[0])


def _two_grids(pairs: Sequence[Pair], c: Real, instruction: Any) -> Real:
    special = special_of(pairs, c, SPECIAL_LIMIT)
    if special is not None:
        return special
    top, total = _on_own_grid(pairs, instruction)
    return _with_accumulator(top, total, c, instruction, drop=False)


def _two_grids_even_odd(pairs: Sequence[Pair], c: Real, instruction: Any) -> Real:
    special = special_of(pairs, c, SPECIAL_LIMIT)
    if special is not None:
        return special
    halves = [_on_own_grid(pairs[first::2], instruction) for first in (0, 1)]
    tops = [top for top, _ in halves if top is not None]
    top = max(tops, default=None)
    total = Fraction(0)
    if top is not None:
        total = sum((_floored(part, top - instruction.bits) for _, part in halves), Fraction(0))
    return _with_accumulator(top, total, c, instruction, drop=True)


def _on_own_grid(pairs: Sequence[Pair], instruction: Any) -> tuple[int | None, Fraction]:
    """The largest exponent of the products, and the sum of them truncated to it."""
    products = [_product(x, y, instruction) for x, y in pairs]
    top = max((p.exponent for p in products if p.exponent is not None), default=None)
    if top is None:
        return None, Fraction(0)
    unit = top - instruction.bits
    return top, sum(_truncated(p.value, unit) for p in products) * Fraction(2) ** unit


def _with_accumulator(
    top: int | None, total: Fraction, c: Real, instruction: Any, *, drop: bool
) -> Real:
    """The products' sum and the accumulator on the second grid, rounded down there, then to nearest."""
    own = exponent_of(c, FP32) if c else FP32.emin
    common = own if top is None else max(top, own)
    total = _floored(total, common - instruction.bits - 8)
    if not (drop and own < common - instruction.bits - 1):
        total += _floored(Fraction(c), common - instruction.bits)
    if total:
        place = max(floor_log2(abs(total)), FP32.emin)
        total = _floored(total, place - 31)
    return round_to(total, instruction.output)


STEPS: dict[str, Callable[[Sequence[Pair], Real, Any], Real]] = {
    "truncating": _truncating_result,
    "software": _software,
    "fma": _fma,
    "exact": _exact,
    "flushed": _flushed,
    "two_grids": _two_grids,
    "two_grids_even_odd": _two_grids_even_odd,
}
