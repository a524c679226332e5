"""Block-scaled products by Blackwell's matrix units: MX formats and NVFP4, with a scale for every block.

From one simulator only (MMA-Sim); no published outputs of the chip confirm it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import E2M1, E4M3, E8M0, FP32, Format, as_format
from fpemu.matrix_units.instruction import Instruction
from fpemu.matrix_units.run import by_rows, taken_apart
from fpemu.matrix_units.unit import MatrixUnit

GROUP = 16
EVIDENCE = "simulator; unconfirmed: no published outputs of the chip"


@dataclass(frozen=True)
class ScaledInstruction(Instruction):
    """An instruction whose operands come in blocks of `block` products along K, each with a scale in the
    format `scale`."""

    scale: Format = E8M0
    block: int = 32


def scaled_instruction(
    unit: MatrixUnit, a: object, b: object = None, *, scale: object = E8M0, block: int = 32
) -> ScaledInstruction:
    """The block-scaled instruction of b200's tcgen05 or rtx50's mma for operands of formats `a` and `b`.

    FP4 (E2M1) with both operands takes the FP4 instruction: blocks of 32 with E8M0 scales (MXFP4), or of
    16 with E4M3 (NVFP4) or E8M0 scales; all else blocks of 32 with E8M0 (MXFP8, MXFP6, MXFP4 mixed).
    Raises `UnsupportedError` for what there is not.

    >>> from fpemu.matrix_units import matrix_unit
    >>> scaled_instruction(matrix_unit("b200", "tcgen05"), "e2m1", scale="e4m3", block=16).bits
    35
    """
    a, scale = as_format(a), as_format(scale)
    b = a if b is None else as_format(b)
    if (unit.chip, unit.instruction) not in (("b200", "tcgen05"), ("rtx50", "mma")):
        raise UnsupportedError(f"{unit} takes no scales; b200 tcgen05 and rtx50 mma do")
    plain = unit.on(a, b)
    if a.bits > 8 or b.bits > 8:
        raise UnsupportedError(f"scales go with operands of 8 bits and fewer, not with {a.name}")
    fp4 = a == b == E2M1
    if (scale, block) not in [(E8M0, 32)] + ([(E4M3, 16), (E8M0, 16)] if fp4 else []):
        raise UnsupportedError(
            f"{unit} on {a.name} takes no blocks of {block} with scales in {scale.name}; it takes 32 with "
            "e8m0, and for e2m1 16 with e4m3 or e8m0"
        )
    numbers = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    numbers |= {"evidence": EVIDENCE, "arithmetic": "scaled", "accumulator": FP32, "output": FP32}
    if fp4:
        numbers |= {"arithmetic": "scaled_groups", "length": 64, "multiple": 64, "bits": 35}
        numbers |= {"floor": -139, "shape": plain.shape.replace("k32", "k64")}
    return ScaledInstruction(**numbers, scale=scale, block=block)


def multiply_scaled(
    a: np.ndarray,
    b: np.ndarray,
    scales_a: np.ndarray,
    scales_b: np.ndarray,
    instruction: ScaledInstruction,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """``start`` and the product of (m, k) and (k, n) matrices whose blocks along k have scales of shapes
    (m, k / block) and (k / block, n); all are values in carriers. Shape (m, n), float32.

    k must be a whole number of blocks; it is padded with zeros to whole instructions. The sign of scales
    is ignored. Raises `ArgumentError` for shapes that do not fit.
    """
    (m, k), n = a.shape, b.shape[1]
    blocks = k // instruction.block
    if k % instruction.block or scales_a.shape != (m, blocks) or scales_b.shape != (blocks, n):
        raise ArgumentError(
            f"products of shapes {a.shape} and {b.shape} in blocks of {instruction.block} take scales of "
            f"shapes ({m}, k / {instruction.block}) and (k / {instruction.block}, {n}), k being whole blocks; "
            f"got {scales_a.shape} and {scales_b.shape}"
        )
    total = np.zeros((m, n), np.float32)
    if start is not None:
        total[:] = start
    short = -k % instruction.length
    left, right = np.pad(a, ((0, 0), (0, short))), np.pad(b, ((0, short), (0, 0)))
    more = (k + short) // instruction.block - blocks
    left_scales = np.pad(np.abs(scales_a), ((0, 0), (0, more)), constant_values=1.0)
    right_scales = np.pad(np.abs(scales_b), ((0, more), (0, 0)), constant_values=1.0)
    with np.errstate(all="ignore"):
        if k:
            run = _groups if instruction.arithmetic == "scaled_groups" else _products
            run(left, right, left_scales, right_scales, total, instruction)
    return total


def _products(a, b, scales_a, scales_b, total: np.ndarray, made: ScaledInstruction) -> None:
    """Scales are powers of two: operands take them along, value and exponent."""
    from fpemu.kernels import fused

    left, left_exponents = _with_scales(a, scales_a, made.a, made, 1)
    right, right_exponents = _with_scales(b, scales_b, made.b, made, 0)
    special = not all(np.isfinite(v).all() for v in (left, right, total))
    rules = fused.Rules(made.bits, made.floor, -126, 23, -149, float(FP32.max), made.length, 0)
    run = fused.loop(False, False, True, special)

    def work(rows: slice, out: np.ndarray) -> None:
        run(left[rows], left_exponents[rows], right, right_exponents, out, rules)

    by_rows(work, left, total)


def _with_scales(values, scales, f: Format, made: ScaledInstruction, axis: int):
    each = np.repeat(scales, made.block, axis)
    wide, exponents = taken_apart(values, f, np.float64)
    own = np.where(np.isfinite(each), np.frexp(each)[1] - 1, 0).astype(np.int32)
    return np.ascontiguousarray(wide * each), exponents + own


def _groups(a, b, scales_a, scales_b, total: np.ndarray, made: ScaledInstruction) -> None:
    """Sums of 16 products of FP4 are exact in float64, whatever adds them, and so are their multiples by
    two scales."""
    each = made.block // GROUP
    left_scales, right_scales = (
        np.repeat(s.astype(np.float64), each, axis) for s, axis in ((scales_a, 1), (scales_b, 0))
    )
    left_e, right_e = (_scale_exponents(s, made.scale) for s in (left_scales, right_scales))
    a, b = a.astype(np.float64), b.astype(np.float64)
    nonzero = (a != 0).astype(np.float64), (b != 0).astype(np.float64)
    c = total.astype(np.float64)
    for k in range(0, a.shape[1], made.length):
        values, exponents, special = [], [], np.where(np.isfinite(c), 0.0, c)
        for start in range(k, k + made.length, GROUP):
            part, g = slice(start, start + GROUP), start // GROUP
            scale = left_scales[:, g : g + 1] * right_scales[g : g + 1]
            value = (a[:, part] @ b[part]) * scale
            takes_part = (nonzero[0][:, part] @ nonzero[1][part] > 0) & (scale != 0)
            special = special + np.where(np.isfinite(scale), 0.0, np.nan)
            values.append(np.where(np.isfinite(value), value, 0.0))
            here = left_e[:, g : g + 1] + right_e[g : g + 1]
            exponents.append(np.where(takes_part, here, -(1 << 20)))
        own = np.maximum(np.frexp(c)[1] - 1, -126)
        values.append(np.where(np.isfinite(c), c, 0.0))
        exponents.append(np.where((c == 0) | ~np.isfinite(c), -(1 << 20), own))
        unit = np.maximum(np.max(exponents, axis=0), made.floor) - made.bits
        sums = sum(np.trunc(np.ldexp(value, -unit)) for value in values)
        c = np.where(special == 0, _toward_zero(np.ldexp(sums, unit)), special)
    total[:] = c


def _scale_exponents(scales: np.ndarray, f: Format) -> np.ndarray:
    return np.where(np.isfinite(scales), np.maximum(np.frexp(scales)[1] - 1, f.emin), 0)


def _toward_zero(x: np.ndarray) -> np.ndarray:
    """Values of FP32, toward zero, with overflow to infinity; a zero is positive."""
    place = np.maximum(np.frexp(x)[1] - 1, -126) - 23
    cut = np.ldexp(np.trunc(np.ldexp(x, -place)), place) + 0.0
    return np.where(np.abs(cut) > float(FP32.max), np.copysign(np.inf, cut), cut)
