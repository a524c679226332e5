"""`Instruction`: one instruction of one chip on operands of stated formats, as the numbers that decide
every bit of its result."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from fpemu.formats import FP16, Format

# FP32 with the last ten bits of the fraction always 0: what FP8 accumulates in on Ada and Hopper.
E8M13 = Format("e8m13", 8, 13)


@dataclass(frozen=True)
class Instruction:
    """What a `MatrixUnit` becomes when the operands' formats are known.

    Attributes
    ----------
    chip, name, shape : which instruction, in the vendor's words.
    a, b : the operands' formats. accumulator : the format of c and of the result.
    arithmetic : what one step does; see `fpemu.exact.matrix_units`.
    length : products per step (L). multiple : K of one instruction; longer sums chain instructions in
        ascending order, and K is padded with zeros to a multiple.
    bits : fraction bits kept below the largest exponent (F). floor : the smallest exponent that
        operands are aligned to.
    output : the format to which a step rounds, to nearest even if `nearest`, else toward zero, both
        with overflow to infinity.
    evidence : what the numbers rest on.
    promote : after so many products the accumulator is added to a total in FP32 and starts again at
        zero; 0 for never. split : the shares of K that are summed apart (split-K).
    """

    chip: str
    name: str
    shape: str
    a: Format
    b: Format
    accumulator: Format
    arithmetic: str
    length: int
    multiple: int
    bits: int
    floor: int
    output: Format
    nearest: bool
    evidence: str
    promote: int = 0
    split: int = 1

    run_on_hardware = False  # whether fpemu itself has compared these numbers with the chip

    # What functions of arrays ask every accumulation model:

    kind = "matrix_unit"
    rounding = "nearest_even"
    saturation = "none"
    subnormals = "gradual"
    round_every = None
    seed = None
    random_bits = 24

    @property
    def result_format(self) -> Format:
        """The format in which the sum ends."""
        return self.accumulator

    @property
    def out(self) -> Format:
        """The format of the result where a call does not name one: the instruction's own."""
        return self.accumulator

    @property
    def inner(self) -> Instruction:
        """The step that a software sequence repeats: FP16 operands, half as many products."""
        nearest = self.accumulator == FP16
        return dataclasses.replace(
            self,
            a=FP16,
            b=FP16,
            arithmetic="truncating",
            length=self.length // 2,
            multiple=self.length // 2,
            nearest=nearest,
            promote=0,
            split=1,
        )

    def __str__(self) -> str:
        operands = self.a.name if self.a == self.b else f"{self.a.name} x {self.b.name}"
        return f"{self.chip} {self.name} {self.shape} {operands} -> {self.accumulator.name}"
