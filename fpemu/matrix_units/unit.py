"""`MatrixUnit`: the matrix unit of a chip by name, to be used wherever an accumulation model is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fpemu.errors import ArgumentError, UnsupportedError, unknown
from fpemu.formats import FP16, FP32, Format, as_format
from fpemu.matrix_units.instruction import E8M13, Instruction
from fpemu.matrix_units.table import GENERATIONS, ROWS, SYNONYMS, Row


@dataclass(frozen=True, repr=False)
class MatrixUnit:
    """The matrix unit of a chip, reached by one of its instructions; made by `matrix_unit`.

    What it does depends on the operands, too: `on` gives the `Instruction` for their formats. Prints
    as what makes it; `str` gives the text that ``accumulate=`` takes.
    """

    chip: str
    instruction: str
    accumulator: Format | None = None
    shape: str | None = None
    promote: int = 0
    split: int = 1

    def __post_init__(self) -> None:
        put = object.__setattr__
        chip = str(self.chip).lower()
        put(self, "chip", SYNONYMS.get(chip, chip))
        if self.chip not in GENERATIONS:
            raise unknown("chip", self.chip, [*GENERATIONS, *SYNONYMS])
        names = _ordered(row.name for row in ROWS if self.chip in row.chips)
        put(self, "instruction", self.instruction or names[0])
        if self.instruction not in names:
            raise unknown(f"instruction of {self.chip}", self.instruction, names)
        if self.accumulator is not None:
            accumulator = as_format(self.accumulator)
            if accumulator not in self._all("accumulators"):
                raise unknown(
                    f"accumulator of {self.chip} {self.instruction}",
                    accumulator.name,
                    [f.name for f in self._all("accumulators")],
                )
            put(self, "accumulator", accumulator)
        if self.shape is not None and self.shape not in self._all("shapes"):
            raise unknown(
                f"shape of {self.chip} {self.instruction}", self.shape, self._all("shapes")
            )
        for name, least in (("promote", 0), ("split", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(f"{name} must be an integer of at least {least}, got {value!r}")

    def rows(self) -> list[Row]:
        """The lines of the table that belong to it."""
        return [
            row
            for row in ROWS
            if self.chip in row.chips
            and row.name == self.instruction
            and self.shape in (None, *row.shapes)
            and self.accumulator in (None, *row.accumulators)
        ]

    def takes(self) -> list[str]:
        """The operands' formats that it takes, by name."""
        return _ordered(f.name for row in self.rows() for f in row.operands)

    def on(self, a: object, b: object = None) -> Instruction:
        """The instruction that multiplies operands of the formats `a` and `b` (by default the same).

        Raises `UnsupportedError` with the list of what the unit takes.

        >>> matrix_unit("h100", "wgmma").on("fp16").length
        16
        """
        a = as_format(a)
        b = a if b is None else as_format(b)
        for row in self.rows():
            if a in row.operands and b in row.operands and (a == b or row.mixed):
                return self._instruction(row, a, b)
        hint = ""
        if FP32 in (a, b) and "tf32" in self.takes():
            hint = (
                "; FP32 registers are read as TF32, their last 13 bits ignored: "
                "fp.quantize(x, 'tf32', rounding='toward_zero') does that"
            )
        both = a.name if a == b else f"{a.name} with {b.name}"
        raise UnsupportedError(
            f"{self} does not multiply {both}; it takes {', '.join(self.takes()) or 'nothing'}{hint}"
        )

    def _instruction(self, row: Row, a: Format, b: Format) -> Instruction:
        accumulator = self.accumulator or row.accumulators[0]
        shape = self.shape or row.shapes[0]
        output = E8M13 if row.short and accumulator == FP32 else accumulator
        nearest = accumulator == FP16 or row.arithmetic not in ("truncating",)
        made = Instruction(
            *(self.chip, self.instruction, shape, a, b, accumulator),
            *(row.arithmetic, row.length, row.multiple or row.length, row.bits),
            *(row.floor(accumulator), output, nearest, row.evidence),
            *(self.promote, self.split),
        )
        loops = self.promote or self.split > 1
        if loops and (row.arithmetic != "truncating" or accumulator != FP32):
            raise ArgumentError(
                f"promote and split go with accumulators in fp32 and the hardware's own steps; {self} "
                f"on {a.name} has none"
            )
        if self.promote % made.multiple:
            raise ArgumentError(
                f"promote={self.promote} must be a multiple of {made.multiple}, the products of one "
                f"instruction of {self}"
            )
        return made

    def _all(self, name: str) -> list[Any]:
        rows = [row for row in ROWS if self.chip in row.chips and row.name == self.instruction]
        return _ordered(value for row in rows for value in getattr(row, name))

    def _options(self) -> Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(self)[2:]:
            value = getattr(self, field.name)
            if value != field.default:
                yield field.name, value

    def __repr__(self) -> str:
        said = "".join(f", {name}={value!r}" for name, value in self._options())
        return f"fp.matrix_unit({self.chip!r}, {self.instruction!r}{said})"

    def __str__(self) -> str:
        said = "".join(f" {name}={value}" for name, value in self._options())
        return f"{self.chip} {self.instruction}{said}"

    @classmethod
    def parse(cls, text: str) -> MatrixUnit:
        """The unit that `text` describes: a chip, an instruction, then options as ``name=value``.

        >>> MatrixUnit.parse("h100 mma accumulator=fp16")
        fp.matrix_unit('h100', 'mma', accumulator=fp.FP16)
        """
        first, *rest = text.split()
        names = [word for word in rest if "=" not in word]
        allowed = [field.name for field in dataclasses.fields(cls)[2:]]
        options: dict[str, Any] = {}
        for word in rest:
            name, equals, value = word.partition("=")
            if equals and name not in allowed:
                raise unknown("option of a matrix unit", name, allowed)
            if equals:
                number = name in ("promote", "split") and value.isdecimal()
                options[name] = int(value) if number else value
        if len(names) > 1:
            raise ArgumentError(
                f"a matrix unit is written as 'h100 wgmma accumulator=fp16', got {text!r}"
            )
        return matrix_unit(first, *names, **options)


def matrix_unit(
    chip: str,
    instruction: str | None = None,
    *,
    accumulator: object = None,
    shape: str | None = None,
    promote: int = 0,
    split: int = 1,
) -> MatrixUnit:
    """A matrix unit by name, for ``accumulate=`` of `fpemu.matmul`, `dot`, `einsum` and convolutions.

    Parameters
    ----------
    chip : v100, t4, a100, ada, h100, h200, b200, rtx50, mi100, mi200, mi300; a2 and a30 are a100's, l4,
        l40s and rtx40 ada's, mi210, mi250 and mi250x mi200's, mi300a and mi300x mi300's.
    instruction : "mma", "wgmma" (Hopper), "tcgen05" (B200), "mfma" (AMD); by default the chip's first.
    accumulator : the format of c and of the result, "fp32" (default) or, where the unit has it, "fp16".
    shape : as the vendor writes it, where a shape with other numerics than the default's is wanted.
    promote : after so many products of K the accumulator is added to a total in FP32, rounded to
        nearest even, and starts again at zero (the main loops of FP8 libraries take 128).
    split : K is dealt to so many shares of whole 64s (FP8: 128s), summed apart and added in ascending
        order in FP32 (cuBLASLt's split-K).

    The numbers come from published measurements and simulators, not from runs on hardware by fpemu; for
    each instruction `Instruction.evidence` says which. Signs and payloads of NaN are not kept. A
    trace counts, and flags and traps know, what results show: overflow and invalid, not what was cut off
    inside.
    Raises `ArgumentError` for an unknown name, listing the known ones, and when the unit is used on
    formats that it does not take `UnsupportedError`.

    Sources: see `fpemu.matrix_units.table`.

    >>> unit = matrix_unit("h100", "wgmma")
    >>> unit
    fp.matrix_unit('h100', 'wgmma')
    >>> unit.on("fp16").evidence
    'hardware vectors, simulator; F of FP16 results: simulator'
    """
    return MatrixUnit(chip, instruction or "", accumulator, shape, promote, split)  # type: ignore[arg-type]


def is_written(text: object) -> bool:
    """Whether `text` is that of a matrix unit: its first word is a chip.

    >>> is_written("h100 wgmma"), is_written("fp16 kahan")
    (True, False)
    """
    words = text.lower().split() if isinstance(text, str) else []
    return bool(words) and (words[0] in GENERATIONS or words[0] in SYNONYMS)


def every_instruction() -> Iterator[Instruction]:
    """Every instruction of the table, with every accumulator, shape and pair of formats that it has."""
    for row in ROWS:
        for chip in row.chips:
            for accumulator in row.accumulators:
                unit = matrix_unit(chip, row.name, accumulator=accumulator, shape=row.shapes[0])
                for a in row.operands:
                    for b in row.operands if row.mixed else (a,):
                        yield unit.on(a, b)


def _ordered(values) -> list[Any]:
    """Each value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))
