"""The emulated matrix units against a real one: the layouts of the kernels, the probes, random sums.

Not yet run on hardware. What a GPU is compared with is decided by the GPU: see `fpemu.cuda.chip_of`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fpemu.arrays import Array
from fpemu.convert import decode
from fpemu.cuda import cublaslt
from fpemu.cuda.comparing import Difference, Mismatches, compare, hexadecimal, written
from fpemu.cuda.devices import GPU, Device, chip_of
from fpemu.cuda.kernels import Kernel, kernels
from fpemu.cuda.products import checked, product, product_of_bits
from fpemu.cuda.recording import record, unit_of
from fpemu.errors import FpemuError
from fpemu.formats import BF16, E4M3, FP16, TF32, Format
from fpemu.matrix_units import Instruction, MatrixUnit
from fpemu.verify.probes import RAW_TF32, Probe, probes
from fpemu.verify.units import cases

_SIDE = 40  # a random case is a product of matrices with so many rows and columns
_STEPS = 3  # instructions chained in it
_RECORDED = 16  # rows and columns of a recorded one


@dataclasses.dataclass
class Row(Mismatches):
    """What was found for one kernel. `nans`: the codes of the NaNs that the chip gave. `refused`: why its
    sums were not looked at. `library`: it is cuBLASLt's, which may rightly do otherwise."""

    probes: int = 0
    nans: str = ""
    refused: str = ""
    library: bool = False

    @property
    def wrong(self) -> bool:
        """Whether the chip and the emulation differ, or the kernel could not be used."""
        return bool(self.mismatches or self.refused) and not self.library

    def note_nans(self, codes: np.ndarray, f: Format) -> None:
        """Remember which NaNs are among the codes."""
        new = {hexadecimal(code, f) for code in np.unique(codes[np.isnan(decode(codes, f))])}
        self.nans = " ".join(sorted(new.union(self.nans.split())))


def rows(
    device: Device, *, count: int = 10_000, folder: str | None = None, seed: int = 0
) -> Iterator[Row]:
    """A row for every kernel of the device's chip: its layout, its probes, at least `count` random sums;
    then rows for cuBLASLt, which do not decide.

    With `folder`, a recording of a smaller random draw is written there for each kernel.
    Raises `UnsupportedError` for a chip that fpemu does not know.
    """
    for kernel in kernels(chip_of(device.facts)):
        yield _row(device, kernel, count, folder, seed)
    if isinstance(device, GPU):
        yield from _of_library(device, seed)


def _row(device: Device, kernel: Kernel, count: int, folder: str | None, seed: int) -> Row:
    row = Row(kernel.name, str(kernel.instruction))
    try:
        chosen = checked(device, kernel)
        row.kernel = chosen.name
        for probe in probes_of(kernel):
            row.probes += 1
            row.add(_probed(device, chosen, probe), f"probe {probe.name!r}")
        for name, left, right, wanted in RAW_TF32 if kernel.instruction.a == TF32 else ():
            row.probes += 1
            row.add(_raw(device, chosen, left, right, wanted), f"probe {name!r}")
        for kind, (a, b, c) in cases(kernel.instruction, count, seed, _STEPS, _SIDE):
            codes = product(device, chosen, a, b, c)
            row.add(compare(kernel.instruction, a, b, c, codes), kind)
            row.note_nans(codes, kernel.instruction.accumulator)
        if folder is not None:
            _record(device, kernel, Path(folder), seed)
    except FpemuError as error:
        row.refused = str(error)
    return row


# The instruction that cuBLAS is expected to use where the chip has several.
_LIBRARIES_USE = {"h100": "wgmma", "h200": "wgmma", "b200": "tcgen05"}
_DEPTH, _WIDTH = 256, 64  # K of a product for cuBLASLt, and its rows and columns


def _of_library(device: Device, seed: int) -> Iterator[Row]:
    """cuBLASLt against the plain chain of the instruction that it is expected to use."""
    chip = chip_of(device.facts)
    unit = MatrixUnit(chip, _LIBRARIES_USE.get(chip, "mma"))
    units = [(unit, f) for f in (FP16, BF16, TF32, E4M3) if f.name in unit.takes()]
    if unit.instruction == "wgmma":  # Hopper's main loops for FP8 add to a total every 128 products
        units.append((dataclasses.replace(unit, promote=128), E4M3))
    for each, f in units:
        made = each.on(f)
        row = Row("cublasLt", f"{made}, promote={made.promote}", library=True)
        try:
            drawn = cases(made, 0, seed, _DEPTH // made.multiple, _WIDTH)
            for kind, (a, b, c) in drawn:
                codes, how = cublaslt.product(device, made, a, b)
                row.kernel = f"cublasLt {how.get('algorithm', '?')}"
                row.add(compare(made, a, b, np.zeros_like(c), codes), kind)
        except FpemuError as error:
            row.refused = str(error)
        yield row


def probes_of(kernel: Kernel) -> list[Probe]:
    """The published probes that the kernel should answer as published: those of its instruction, whose K
    its tiles may exceed."""
    own = _numbers(kernel.instruction)
    found = {
        (probe.name, probe.wanted): probe
        for probe in probes()
        if _numbers(probe.instruction) == own
    }
    return list(found.values())


def _numbers(made: Instruction) -> Instruction:
    """The instruction without its evidence; H100 and H200 are alike."""
    chip = "h100" if made.chip == "h200" else made.chip
    return dataclasses.replace(made, chip=chip, evidence="")


def _probed(device: Device, kernel: Kernel, probe: Probe) -> Difference:
    """The chip's answer against the published one."""
    made, f = kernel.instruction, kernel.instruction.accumulator
    code = product(device, kernel, probe.a, probe.b, probe.c)[0, 0]
    if probe.wanted == "nan":
        right = bool(np.isnan(decode(np.array([code]), f))[0])
    else:
        right = int(code) == int(probe.wanted, 16)
    if right:
        return Difference(1, 0, "")
    first = (
        f"a={written(probe.a[0], made.a)} b={written(probe.b[:, 0], made.b)} c={written(probe.c[0, 0], f)} "
        f"expected {probe.wanted}, got {hexadecimal(code, f)}"
    )
    return Difference(1, 1, first)


def _raw(device: Device, kernel: Kernel, a: int, b: int, wanted: str) -> Difference:
    """The product of two registers' words against the published one."""
    words = (np.array([[x]], np.uint64) for x in (a, b, 0))
    code = product_of_bits(device, kernel, *words)[0, 0]
    if int(code) == int(wanted, 16):
        return Difference(1, 0, "")
    return Difference(1, 1, f"a={a:08x} b={b:08x} expected {wanted}, got {code:08x}")


def _record(device: Device, kernel: Kernel, folder: Path, seed: int) -> None:
    made = kernel.instruction
    drawn = list(cases(made, 0, seed, _STEPS, _RECORDED))
    a, b, c = (
        Array(np.stack([matrices[i] for _, matrices in drawn]), f)
        for i, f in enumerate((made.a, made.b, made.accumulator))
    )
    record(
        folder / f"{made.chip}_{kernel.name}",
        *(a, b, c),
        accumulate=unit_of(made),
        library="wmma" if kernel.api == "wmma" else "kernel",
        device=device,
        note=f"kinds: {', '.join(kind for kind, _ in drawn)}; seed {seed}",
    )
