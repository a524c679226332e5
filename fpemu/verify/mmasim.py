"""MMA-Sim as a judge of matrix units: an independent simulator (P. Xie et al., arXiv 2511.10909).

Needs the package ``mmasim`` (2.1.1 or later: older ones are wrong for tiny values), and with it
PyTorch.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

import numpy as np

from fpemu.convert import codes_of
from fpemu.formats import E2M1, E4M3FNUZ, E8M0, FP16, FP32, TF32, Format
from fpemu.matrix_units import Instruction, multiply
from fpemu.matrix_units.scaled import ScaledInstruction
from fpemu.matrix_units.table import GENERATIONS
from fpemu.verify import units
from fpemu.verify.outcome import Outcome

_NAMES = {"fp16": "f16", "fp32": "f32", "fp64": "f64"}


def simulator(instruction: Instruction) -> Any:
    """Its object for the instruction."""
    from mmasim.amd.sim import MFMA
    from mmasim.nv_ptx.sim import MMA, WGMMA, TCGen05MMA

    generation = GENERATIONS[instruction.chip]
    if instruction.name == "mfma":
        return MFMA(generation, _suffix(instruction))
    a, b, d = (_name(f) for f in (instruction.a, instruction.b, instruction.accumulator))
    shape = instruction.shape
    if instruction.name == "wgmma":
        return WGMMA(generation, f"{shape.replace('N', '8')}.{d}.{a}.{b}")
    if instruction.name == "tcgen05":
        family = {"f16": "f16", "bf16": "f16", "tf32": "tf32"}.get(a, "f8f6f4")
        shape = shape.replace("M", "64").replace("N", "8")
        return TCGen05MMA(generation, f"{shape}.kind::{family}.{d}.{a}.{b}")
    family = ".kind::f8f6f4" if generation == "RTX Blackwell" and instruction.length == 32 else ""
    return MMA(generation, f"{shape}{family}.{d}.{a}.{b}.{d}")


def _name(f: Format) -> str:
    return _NAMES.get(f.name, f.name)


def _suffix(instruction: Instruction) -> str:
    """The name of an AMD instruction."""
    shape = instruction.shape
    if shape.endswith("_fp8"):
        both = ["fp8" if f == E4M3FNUZ else "bf8" for f in (instruction.a, instruction.b)]
        shape = shape.removesuffix("fp8") + "_".join(both)
    if instruction.chip == "mi300":
        shape = shape.replace("x2f32", "x2_f32").replace("x4f64", "x4_f64")
    return f"{_name(instruction.accumulator)}_{shape}"


def judge(a: np.ndarray, b: np.ndarray, c: np.ndarray, instruction: Instruction) -> np.ndarray:
    """The product of matrices by MMA-Sim: every sum of products on its own, K padded with zeros."""
    rows, columns = np.divmod(np.arange(c.size), c.shape[1])
    if instruction.arithmetic == "software":
        total = _software(a[rows], b.T[columns], c.reshape(-1), instruction)
    else:
        unit = simulator(instruction)
        short = -a.shape[1] % unit.k
        a, b = np.pad(a, ((0, 0), (0, short))), np.pad(b, ((0, short), (0, 0)))
        left, right = tensor(a[rows], instruction.a), tensor(b.T[columns], instruction.b)
        total = tensor(c.reshape(-1), instruction.accumulator)
        for k in range(0, a.shape[1], unit.k):
            total = unit.dpa(left[:, k : k + unit.k], right[:, k : k + unit.k], total)
    return total.numpy().astype(c.dtype).reshape(c.shape)


def _software(a: np.ndarray, b: np.ndarray, c: np.ndarray, instruction: Instruction) -> Any:
    """FP8 by ``mma.sync`` on Hopper and B200. MMA-Sim takes it for a unit of its own, which the machine
    code refutes; here its FP16 instruction is put together as the machine code does."""
    inner = dataclasses.replace(instruction.inner, shape="m16n8k16")
    unit, total = simulator(inner), tensor(c, instruction.accumulator)
    for first in range(0, a.shape[1], 32):
        part = tensor(np.zeros_like(c), instruction.accumulator)
        for half in (0, 2):
            chosen = [first + k for k in range(32) if k % 4 in (half, half + 1)]
            part = unit.dpa(tensor(a[:, chosen], FP16), tensor(b[:, chosen], FP16), part)
        total = part + total
    return total


def compare(instruction: Instruction, count: int) -> Outcome:
    """The kernel against MMA-Sim on at least `count` sums."""
    if instruction.arithmetic != "two_grids_even_odd":
        whole = _steps_of_one(instruction)
        chains = tuple(whole * count for count in units.CHAINS)
        return units.compare(instruction, judge, "MMA-Sim", count, steps=chains)

    # A slip of 2.1.1: it drops an infinite or NaN c beside large products.
    def theirs(a, b, c, made):
        return judge(a, b, np.where(np.isfinite(c), c, np.float32(0)), made)

    def ours(a, b, c, made):
        return multiply(a, b, made, np.where(np.isfinite(c), c, np.float32(0)))

    return units.compare(instruction, theirs, "MMA-Sim", count, judged=ours, steps=1)


def _steps_of_one(instruction: Instruction) -> int:
    """How many steps MMA-Sim's object for the instruction takes at once."""
    if instruction.arithmetic == "software":
        return 1
    return max(simulator(instruction).k // instruction.multiple, 1)


def scaled_judge(a, b, left, right, c: np.ndarray, made: ScaledInstruction) -> np.ndarray:
    """The block-scaled product of matrices by MMA-Sim, K being that of one instruction."""
    import torch
    from mmasim.nv_ptx.sim import TCGen05MMABlockScale

    fp4 = made.arithmetic == "scaled_groups"
    kind, scale = "mxf4nvf4" if fp4 else "mxf8f6f4", f"u{made.scale.name}"
    name = f"m128n8k{made.length}.kind::{kind}.block{made.block}.f32.{made.a.name}.{made.b.name}.{scale}"
    rows, columns = np.divmod(np.arange(c.size), c.shape[1])

    def operand(values: np.ndarray, f: Format) -> Any:
        if not fp4:
            return tensor(values, f)
        codes = codes_of(np.ascontiguousarray(values), f)
        return torch.from_numpy(codes[:, ::2] | codes[:, 1::2] << np.uint8(4))  # two in a byte

    def scales(values: np.ndarray) -> Any:
        codes = torch.from_numpy(codes_of(np.ascontiguousarray(values), made.scale))
        return codes.view(torch.float8_e8m0fnu if made.scale == E8M0 else torch.float8_e4m3fn)

    total = TCGen05MMABlockScale("Blackwell", name).dpa(
        operand(a[rows], made.a),
        operand(b.T[columns], made.b),
        torch.from_numpy(c.reshape(-1).copy()),
        scales(left[rows]),
        scales(right.T[columns]),
    )
    return total.numpy().reshape(c.shape)


def is_installed() -> bool:
    """Whether MMA-Sim can be asked."""
    return importlib.util.find_spec("mmasim") is not None


def tensor(values: np.ndarray, f: Format) -> Any:
    """Values of `f` as MMA-Sim takes them."""
    import torch

    values = np.ascontiguousarray(values)
    if values.dtype == np.float64 or f in (FP32, TF32):
        return torch.from_numpy(values.copy())
    codes = torch.from_numpy(codes_of(values, f))
    dtypes = {
        "fp16": torch.float16,
        "bf16": torch.bfloat16,
        "e4m3": torch.float8_e4m3fn,
        "e5m2": torch.float8_e5m2,
        "e4m3fnuz": torch.float8_e4m3fnuz,
        "e5m2fnuz": torch.float8_e5m2fnuz,
    }
    if f == E2M1:
        return codes << 2  # it stands in the middle of its byte
    return codes.view(dtypes[f.name]) if f.name in dtypes else codes
