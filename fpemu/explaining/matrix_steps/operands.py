"""The operands of one step as a caller gives them: read, checked, padded to whole steps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fpemu import exact
from fpemu.arrays import Array, array, asarray
from fpemu.errors import ArgumentError
from fpemu.exact import matrix_units as units
from fpemu.exact.scaled_units import scaled_unit
from fpemu.explaining.terms import listed
from fpemu.formats import E4M3, E8M0, Format
from fpemu.linalg.options import model_of_products
from fpemu.matrix_units import Instruction, MatrixUnit
from fpemu.matrix_units.scaled import ScaledInstruction, scaled_instruction
from fpemu.reals import Real, is_nan

_ASKER = "explain.matrix_step"
MOST_FMA = 8  # fused multiply-adds told at once


@dataclass(frozen=True)
class Operands:
    """What a step takes: pairs to be multiplied, of which the caller gave `count`, c, and the pairs of
    scales of blocks, if there are any."""

    unit: Any
    pairs: tuple[tuple[Real, Real], ...]
    c: Real
    count: int
    scales: tuple[tuple[Real, Real], ...] = ()

    @property
    def special(self) -> Real | None:
        """NaN or an infinity where the operands decide that alone."""
        if any(is_nan(scale) for pair in self.scales for scale in pair):
            return float("nan")
        limit = units.SPECIAL_LIMIT if self.unit.arithmetic.startswith("two_grids") else None
        return units.special_of(self.pairs, self.c, limit)

    @property
    def exactly(self) -> Fraction:
        """The exact sum, if nothing is special."""
        total = Fraction(self.c)
        for k, (x, y) in enumerate(self.pairs):
            scale = Fraction(1)
            if self.scales:
                left, right = self.scales[k // self.unit.block]
                scale = Fraction(left) * Fraction(right)
            total += Fraction(x) * Fraction(y) * scale
        return total

    def reference(self) -> Real:
        """The result by `fpemu.exact`."""
        a, b = ([pair[i] for pair in self.pairs] for i in (0, 1))
        if self.scales:
            left, right = ([pair[i] for pair in self.scales] for i in (0, 1))
            return scaled_unit(a, b, left, right, self.c, self.unit)
        return units.matrix_unit(a, b, self.c, self.unit)


def read(a: object, b: object, c: object, unit: object, f: object, scales: object) -> Operands:
    """The operands of `Explainer.matrix_step`."""
    x, y = vectors(a, b, f, _ASKER)
    if scales is not None:
        return _scaled(x, y, c, unit, scales)
    made = instruction(unit, x.format, y.format)
    most = MOST_FMA if made.arithmetic == "fma" else made.length
    if not 0 < x.size <= most:
        raise ArgumentError(
            f"one step of {made} takes 1 to {most} products, got {x.size}; longer sums are chains of "
            "such steps: explain.matrix_chain"
        )
    return taken(x.tolist(), y.tolist(), start(c, made.accumulator, _ASKER), made)


def vectors(a: object, b: object, f: object, asker: str) -> tuple[Array, Array]:
    """Two vectors of one length in their formats, or rounded to `f`."""
    given = (listed(v, asker) for v in (a, b))
    x, y = (array(v, f) if f is not None else asarray(v) for v in given)
    if x.shape != y.shape:
        raise ArgumentError(
            f"{asker.partition('.')[2]} takes two vectors of one length, got {x.shape} and {y.shape}"
        )
    return x, y


def instruction(unit: object, a: Format, b: Format) -> Instruction:
    """The matrix unit on these formats."""
    made = model_of_products(unit, "sequential", None, a, b)
    if not isinstance(made, Instruction):
        raise ArgumentError(f"unit must be a matrix unit, as fp.matrix_unit('h100'), got {unit!r}")
    return made


def start(c: object, f: Format, asker: str) -> Real:
    """The accumulator as a value of its format."""
    return array(listed([c], asker), f).item()


def taken(a: list[Real], b: list[Real], c: Real, made: Instruction) -> Operands:
    """Up to a step of products, padded with zeros to whole steps."""
    count = len(a)
    zeros = [0.0] * (-count % made.multiple)
    return Operands(made, tuple(zip([*a, *zeros], [*b, *zeros], strict=True)), c, count)


def _scaled(x: Array, y: Array, c: object, unit: object, scales: Any) -> Operands:
    if not isinstance(scales, (tuple, list)) or len(scales) != 2:
        raise ArgumentError(f"scales must be two, one sequence for a and one for b, got {scales!r}")
    named = MatrixUnit.parse(unit) if isinstance(unit, str) else unit
    if not isinstance(named, MatrixUnit):
        raise ArgumentError(f"with scales unit must be a MatrixUnit or its text, got {unit!r}")
    given = [listed(s, f"{_ASKER} (scales)") for s in scales]
    blocks = {len(s) for s in given}
    if len(blocks) != 1 or not x.size or not (count := blocks.pop()) or x.size % count:
        raise ArgumentError(
            f"{x.size} products take as many scales for a as for b, one for each of equal blocks; got "
            f"{' and '.join(str(len(s)) for s in given)}"
        )
    block = x.size // count
    usual = E4M3 if block == 16 else E8M0
    left, right = (s if isinstance(s, Array) else array(s, usual) for s in given)
    if left.format != right.format:
        raise ArgumentError(
            f"scales must share a format, got {left.format.name} and {right.format.name}"
        )
    made: ScaledInstruction = scaled_instruction(
        named, x.format, y.format, scale=left.format, block=block
    )
    if x.size > made.length:
        raise ArgumentError(f"one step of {made} takes up to {made.length} products, got {x.size}")
    whole = taken(x.tolist(), y.tolist(), start(c, made.accumulator, _ASKER), made)
    more = [(1.0, 1.0)] * (len(whole.pairs) // block - count)
    # (the sign of a scale is ignored)
    pairs = [*zip(map(abs, left.tolist()), map(abs, right.tolist()), strict=True), *more]
    return Operands(made, whole.pairs, whole.c, whole.count, tuple(pairs))


def once(given: Operands) -> Real:
    """The exact sum rounded once to nearest even to the accumulator's format."""
    return exact.round_to(given.exactly, given.unit.accumulator)
