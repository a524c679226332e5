"""Every matrix unit that fpemu knows, as rows of numbers.

A row says for which chips and which of their instructions, on which formats, a step takes how many
products (L), how many fraction bits it keeps (F), and on what evidence:

* "hardware vectors": agrees with published outputs of the chip (F. Khattak and M. Mikaitis, arXiv
  2512.07004: 5000 for each chip and format);
* "simulator": agrees with MMA-Sim (P. Xie et al., arXiv 2511.10909; version 2.1.1), whose authors
  compared it with the chips on about a million random cases per instruction;
* "machine code": read in what NVIDIA's compiler emits;
* "literature": only read.

Nothing here has been run on hardware by fpemu. "unconfirmed" marks what the evidence leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass

from fpemu.formats import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    FP16,
    FP32,
    FP64,
    TF32,
    Format,
)

SYNONYMS = {
    **dict.fromkeys(("a2", "a30"), "a100"),
    **dict.fromkeys(("l4", "l40s", "rtx40"), "ada"),
    **dict.fromkeys(("mi210", "mi250", "mi250x"), "mi200"),
    **dict.fromkeys(("mi300a", "mi300x"), "mi300"),
}
GENERATIONS = {
    "v100": "Volta",
    "t4": "Turing",
    "a100": "Ampere",
    "ada": "Ada Lovelace",
    "h100": "Hopper",
    "h200": "Hopper",
    "b200": "Blackwell",
    "rtx50": "RTX Blackwell",
    "mi100": "CDNA1",
    "mi200": "CDNA2",
    "mi300": "CDNA3",
}


@dataclass(frozen=True)
class Row:
    """One line of the table. The first of the shapes is taken if none is named."""

    chips: tuple[str, ...]
    name: str
    operands: tuple[Format, ...]
    shapes: tuple[str, ...]
    length: int
    bits: int
    evidence: str
    accumulators: tuple[Format, ...] = (FP32,)
    arithmetic: str = "truncating"
    mixed: bool = False  # whether the two operands' formats may differ
    multiple: int = 0  # K of the instruction where that is not a step
    short: bool = False  # whether FP32 results keep only 13 fraction bits (E8M13)
    grid: int = 0  # F of the generation's other units, where it is another one

    def floor(self, accumulator: Format) -> int:
        """The smallest exponent for alignment: in every generation 18 - F from the accumulator's own."""
        return accumulator.emin + 18 - (self.grid or self.bits)


def _row(
    chips: str, name: str, operands, shapes: str, length: int, bits: int, evidence: str, **more
):
    return Row(
        tuple(chips.split()),
        name,
        tuple(operands),
        tuple(shapes.split()),
        length,
        bits,
        evidence,
        **more,
    )


_SEEN = "hardware vectors, simulator"
_BOTH = (FP32, FP16)
_FP8 = (E4M3, E5M2)
_F8F6F4 = (E4M3, E5M2, E2M3, E3M2, E2M1)
_FP16_OUT = "; F of FP16 results: simulator"

ROWS = (
    # -- Volta, Turing
    _row("v100", "mma", [FP16], "m8n8k4", 4, 23, _SEEN + _FP16_OUT, accumulators=_BOTH),
    _row(
        *("t4", "mma", [FP16], "m16n8k8", 8, 24),
        "simulator; L unconfirmed: published probes reach 4 terms only",
        accumulators=_BOTH,
    ),
    _row("t4", "mma", [FP16], "m8n8k4", 4, 23, "simulator, machine code", accumulators=_BOTH),
    # -- Ampere, Ada
    _row(
        *("a100 ada", "mma", [FP16], "m16n8k16 m16n8k8", 8, 24, _SEEN + _FP16_OUT),
        accumulators=_BOTH,
    ),
    _row("a100 ada", "mma", [BF16], "m16n8k16 m16n8k8", 8, 24, _SEEN),
    _row("a100 ada", "mma", [TF32], "m16n8k8 m16n8k4", 4, 24, _SEEN),
    _row(
        *("ada", "mma", _FP8, "m16n8k32 m16n8k16", 16, 13, _SEEN),
        accumulators=_BOTH,
        mixed=True,
        short=True,
        grid=24,
    ),
    # -- Hopper
    _row(*("h100 h200", "mma", [FP16], "m16n8k16", 16, 25, _SEEN + _FP16_OUT), accumulators=_BOTH),
    _row("h100 h200", "mma", [FP16], "m16n8k8", 8, 25, "simulator", accumulators=_BOTH),
    _row("h100 h200", "mma", [BF16], "m16n8k16", 16, 25, _SEEN),
    _row("h100 h200", "mma", [BF16], "m16n8k8", 8, 25, "simulator"),
    _row(
        *("h100 h200", "mma", [TF32], "m16n8k8", 8, 25),
        "hardware vectors, simulator; L: simulator only",
    ),
    _row("h100 h200", "mma", [TF32], "m16n8k4", 4, 25, _SEEN),
    _row(
        *("h100 h200", "mma", _FP8, "m16n8k32", 32, 25),
        "machine code, hardware vectors (FP16 results); NaN unconfirmed",
        accumulators=_BOTH,
        arithmetic="software",
        mixed=True,
    ),
    _row(
        *("h100 h200", "wgmma", [FP16], "m64nNk16", 16, 25, _SEEN + _FP16_OUT), accumulators=_BOTH
    ),
    _row("h100 h200", "wgmma", [BF16], "m64nNk16", 16, 25, _SEEN),
    _row(
        *("h100 h200", "wgmma", [TF32], "m64nNk8", 8, 25),
        "hardware vectors, simulator; L: simulator only",
    ),
    _row(
        *("h100 h200", "wgmma", _FP8, "m64nNk32", 32, 13),
        "hardware vectors (FP32 results, c = 0), else simulator",
        accumulators=_BOTH,
        mixed=True,
        short=True,
        grid=25,
    ),
    # -- Blackwell
    _row(*("b200", "mma", [FP16], "m16n8k16", 16, 25, _SEEN + _FP16_OUT), accumulators=_BOTH),
    _row("rtx50", "mma", [FP16], "m16n8k16", 16, 25, "simulator", accumulators=_BOTH),
    _row("b200 rtx50", "mma", [FP16], "m16n8k8", 8, 25, "simulator", accumulators=_BOTH),
    _row("b200", "mma", [BF16], "m16n8k16", 16, 25, _SEEN),
    _row("rtx50", "mma", [BF16], "m16n8k16", 16, 25, "simulator"),
    _row("b200 rtx50", "mma", [BF16], "m16n8k8", 8, 25, "simulator"),
    _row("b200 rtx50", "mma", [TF32], "m16n8k8", 8, 25, "simulator; F: hardware vectors of B200"),
    _row("b200 rtx50", "mma", [TF32], "m16n8k4", 4, 25, "simulator"),
    _row(
        *("b200", "mma", _FP8, "m16n8k32", 32, 25),
        "machine code, hardware vectors; NaN unconfirmed",
        accumulators=_BOTH,
        arithmetic="software",
        mixed=True,
    ),
    _row(
        *("rtx50", "mma", _F8F6F4, "m16n8k32", 32, 25, "simulator, literature"),
        accumulators=_BOTH,
        mixed=True,
    ),
    _row("b200", "tcgen05", [FP16], "mMnNk16", 16, 25, "simulator", accumulators=_BOTH),
    _row("b200", "tcgen05", [BF16], "mMnNk16", 16, 25, "simulator"),
    _row("b200", "tcgen05", [TF32], "mMnNk8", 8, 25, "simulator"),
    _row(
        *("b200", "tcgen05", _F8F6F4, "mMnNk32", 32, 25, "simulator, literature"),
        accumulators=_BOTH,
        mixed=True,
    ),
    # -- FP64 on NVIDIA
    _row(
        *("a100 h100 h200 b200", "mma", [FP64], "m8n8k4", 1, 0, "simulator"),
        accumulators=(FP64,),
        arithmetic="fma",
        multiple=4,
    ),
    # -- AMD
    _row("mi100", "mfma", [FP16], "32x32x8f16", 4, 0, "simulator", arithmetic="exact"),
    _row("mi100", "mfma", [BF16], "32x32x4bf16", 2, 0, "simulator", arithmetic="exact"),
    _row("mi200", "mfma", [FP16], "32x32x8f16", 4, 0, "simulator", arithmetic="flushed"),
    _row("mi200", "mfma", [BF16], "32x32x8bf16_1k", 4, 0, "simulator", arithmetic="flushed"),
    _row("mi200", "mfma", [BF16], "32x32x4bf16", 2, 0, "simulator", arithmetic="flushed"),
    _row("mi300", "mfma", [FP16], "32x32x8_f16", 8, 24, "simulator", arithmetic="two_grids"),
    _row("mi300", "mfma", [BF16], "32x32x8_bf16", 8, 24, "simulator", arithmetic="two_grids"),
    _row("mi300", "mfma", [TF32], "32x32x4_xf32", 4, 24, "simulator", arithmetic="two_grids"),
    _row(
        *("mi300", "mfma", (E4M3FNUZ, E5M2FNUZ), "32x32x16_fp8", 16, 24, "simulator"),
        arithmetic="two_grids_even_odd",
        mixed=True,
    ),
    _row(
        *("mi100 mi200 mi300", "mfma", [FP32], "32x32x2f32", 1, 0, "simulator"),
        arithmetic="fma",
    ),
    _row(
        *("mi200 mi300", "mfma", [FP64], "16x16x4f64", 1, 0, "simulator"),
        accumulators=(FP64,),
        arithmetic="fma",
    ),
)
