"""`Kernel`: one matrix instruction as a small CUDA program that chains it along K.

Written from the vendor's manual, compiled and read as machine code; not yet run on hardware.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from functools import cached_property

from fpemu.cuda import fragments, sources
from fpemu.cuda.fragments import Layout
from fpemu.errors import UnsupportedError, unknown
from fpemu.formats import E2M1, FP16, FP32, FP64, TF32, Format
from fpemu.matrix_units import Instruction, MatrixUnit
from fpemu.matrix_units.table import ROWS

APIS = ("mma", "wmma", "wgmma", "tcgen05")
_NAMES = {"fp16": "f16", "fp32": "f32", "fp64": "f64"}
_KINDS = {"f16": "f16", "bf16": "f16", "tf32": "tf32"}
_COLUMNS = 64  # of a tile of wgmma and tcgen05


def container(f: Format) -> tuple[int, int]:
    """How many bits hold a code of `f` in a register, and by how many it is shifted there.

    TF32 is the upper part of an FP32 register; FP4 stands in the middle of its byte.

    >>> from fpemu.formats import TF32, E2M1, E3M2
    >>> container(TF32), container(E2M1), container(E3M2)
    ((32, 13), (8, 2), (8, 0))
    """
    if f == TF32:
        return 32, 13
    return max(8, f.bits), 2 if f == E2M1 else 0


@dataclass(frozen=True)
class Kernel:
    """An `Instruction` reached through an API: "mma", "wgmma" and "tcgen05" (PTX's own), or "wmma" (for the
    same unit as mma). Two readings of the manual remain for how wgmma and tcgen05 find their operands;
    `swapped` is the second."""

    instruction: Instruction
    api: str
    swapped: bool = False

    @property
    def name(self) -> str:
        """Its entry point."""
        end = "_swapped" if self.swapped else ""
        types = "_".join(self.types)
        return f"{self.api}_{self.shape}_{types}{end}"

    @property
    def types(self) -> tuple[str, str, str]:
        """The types of D (and C), A and B in PTX."""
        made = self.instruction
        d, a, b = (_NAMES.get(f.name, f.name) for f in (made.accumulator, made.a, made.b))
        return d, a, b

    @property
    def tile(self) -> tuple[int, int, int]:
        """Rows, columns and depth of what a block computes in a step."""
        made = self.instruction
        if self.api == "wmma":
            return 16, 16, 8 if made.a == TF32 else 16
        if self.in_shared_memory:
            return 64 if self.api == "wgmma" else 128, _COLUMNS, 256 // container(made.a)[0]
        rows, columns, depth = (
            int(n) for n in made.shape.replace("m", "").replace("n", "k").split("k")
        )
        return (32 if self._quads else rows), columns, depth

    @property
    def in_shared_memory(self) -> bool:
        """Whether it reads its operands from there."""
        return self.api in ("wgmma", "tcgen05")

    @property
    def _quads(self) -> bool:
        return self.instruction.shape == "m8n8k4" and self.instruction.a == FP16

    @property
    def shape(self) -> str:
        """The shape in PTX."""
        if self.api == "mma":
            return self.instruction.shape
        return "m{}n{}k{}".format(*self.tile)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 128 if self.in_shared_memory else 32

    @property
    def ptx(self) -> str:
        """The instruction."""
        d, a, b = self.types
        if self.api == "tcgen05":
            return f"tcgen05.mma.cta_group::1.kind::{_KINDS.get(a, 'f8f6f4')}"
        if self.api == "wgmma":
            return f"wgmma.mma_async.sync.aligned.{self.shape}.{d}.{a}.{b}"
        if self.api == "wmma":
            types = f"{d}.{d}" if a == "f16" else f"{d}.{a}.{b}.{d}"
            return f"wmma.mma.sync.aligned.row.col.{self.shape}.{types}"
        kind = ".kind::f8f6f4" if self.instruction.chip == "rtx50" and self.width == 8 else ""
        return f"mma.sync.aligned.{self.shape}.row.col{kind}.{d}.{a}.{b}.{d}"

    @property
    def specific(self) -> bool:
        """Whether it exists on one architecture only ("sm_90a")."""
        return self.in_shared_memory or "kind::" in self.ptx

    @property
    def width(self) -> int:
        """Bits of an operand in a register."""
        return container(self.instruction.a)[0]

    @cached_property
    def a(self) -> Layout:
        """The layout of a tile of the left operand, (rows, depth)."""
        return self._operand(left=True)

    @cached_property
    def b(self) -> Layout:
        """The layout of a tile of the right operand's transpose, (columns, depth)."""
        return self._operand(left=False)

    def _operand(self, left: bool) -> Layout:
        rows, columns, depth = self.tile
        lines = rows if left else columns
        if self.api == "wmma":
            return fragments.in_memory(lines, depth, self.width)
        if self.in_shared_memory:
            return fragments.in_shared_memory(lines, self.width)
        if self.instruction.a == FP64:
            return fragments.double_operand()
        if self._quads:
            return fragments.quad_operand(left)
        return fragments.operand(lines, depth, self.width)

    @cached_property
    def d(self) -> Layout:
        """The layout of a tile of C and D, (rows, columns)."""
        rows, columns, _ = self.tile
        width = self.instruction.accumulator.bits
        if self.api == "wmma":
            return fragments.in_memory(rows, columns, width)
        if self.instruction.a == FP64:
            return fragments.double_accumulators()
        if self.api == "tcgen05":
            return fragments.in_lanes(rows, columns)
        if self._quads:
            return fragments.quad_accumulators(32 // width)
        return fragments.accumulators(32 // width, columns, self.threads // 32)

    @property
    def source(self) -> str:
        """Its CUDA source."""
        return sources.source(self)


def kernel(instruction: Instruction, api: str | None = None) -> Kernel:
    """The kernel of an instruction, by default through the API of its own name.

    Raises `UnsupportedError` for what has none: AMD's units, tcgen05 on FP6 and FP4 and with FP16
    accumulators, wmma beyond FP16, BF16 and TF32.

    >>> from fpemu.matrix_units import matrix_unit
    >>> kernel(matrix_unit("h100", "mma").on("fp16")).ptx
    'mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32'
    """
    api = api or instruction.name
    if instruction.name == "mfma":
        raise UnsupportedError(
            f"fpemu.cuda has no kernels for AMD's units, {instruction}; NVIDIA's it has"
        )
    if api not in APIS:
        raise unknown("API of a kernel", api, APIS)
    if api != instruction.name and (api, instruction.name) != ("wmma", "mma"):
        raise UnsupportedError(f"{instruction} is not reached through {api}")
    if instruction.promote or instruction.split > 1:
        raise UnsupportedError(
            f"promote={instruction.promote} and split={instruction.split} are loops of libraries around an "
            "instruction; the kernels here chain it alone"
        )
    if api == "tcgen05":
        _check_tcgen05(instruction)
    if api == "wmma" and instruction.shape != _shape_behind_wmma(instruction):
        raise UnsupportedError(
            f"wmma does not reach {instruction}; it takes fp16 and bf16 in the unit's first shape, and tf32 in "
            "m16n8k4"
        )
    return Kernel(instruction, api)


def _check_tcgen05(instruction: Instruction) -> None:
    known = {instruction.a.name, instruction.b.name} <= {"fp16", "bf16", "tf32", "e4m3", "e5m2"}
    if not known or instruction.accumulator != FP32:
        raise UnsupportedError(
            f"fpemu.cuda has no kernel for {instruction}; of tcgen05 it has fp16, bf16, tf32, e4m3 and e5m2 "
            "with FP32 accumulators"
        )


def _shape_behind_wmma(instruction: Instruction) -> str | None:
    """The shape that the compiler chains, k ascending, for wmma on these formats: the machine code says so.
    TF32 goes in steps of four products, though m16n8k8 exists."""
    if instruction.a.name in ("fp16", "bf16"):
        first = MatrixUnit(instruction.chip, instruction.name, instruction.accumulator)
        return first.on(instruction.a).shape
    return "m16n8k4" if instruction.a == TF32 else None


def kernels(chip: str) -> list[Kernel]:
    """Every kernel that runs on a chip: its instructions, in every shape, and through wmma.

    >>> [k.name for k in kernels("v100")]
    ['mma_m8n8k4_f32_f16_f16', 'wmma_m16n16k16_f32_f16_f16', 'mma_m8n8k4_f16_f16_f16', 'wmma_m16n16k16_f16_f16_f16']
    """
    found = []
    for row in ROWS:
        if chip not in row.chips or row.name not in APIS:
            continue
        for shape, accumulator in itertools.product(row.shapes, row.accumulators):
            unit = MatrixUnit(chip, row.name, accumulator, shape)
            for a in row.operands:
                for b in row.operands if row.mixed else (a,):
                    found += _through_every_api(unit.on(a, b))
    return list(dict.fromkeys(found))


def _through_every_api(instruction: Instruction) -> list[Kernel]:
    made = []
    with contextlib.suppress(UnsupportedError):
        made.append(kernel(instruction))
        if instruction.name == "mma":
            made.append(kernel(instruction, "wmma"))
    return made
