"""Products of matrices by a matrix unit's instruction: operands are taken apart once, rows of the
result computed on several threads, sums along K chained in ascending order."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from fpemu.accumulation import threads
from fpemu.carriers import carrier_dtype
from fpemu.formats import FP32, Format
from fpemu.matrix_units.instruction import Instruction


def multiply(
    a: np.ndarray, b: np.ndarray, instruction: Instruction, start: np.ndarray | None = None
) -> np.ndarray:
    """``start + a @ b`` as `instruction` computes it, for carriers of shapes (m, k), (k, n), (m, n).

    `a` and `b` hold values of the instruction's operands, `start` and the result of its accumulator.
    K is padded with zeros to whole instructions.
    """
    dtype = carrier_dtype(instruction.accumulator)
    shape = (a.shape[0], b.shape[1])
    if start is None:
        total = np.zeros(shape, dtype)
    else:
        total = np.array(np.broadcast_to(start, shape), dtype, order="C")
    if 0 in (*shape, a.shape[1]):
        return total
    size = _share(a.shape[1], instruction)
    for k in range(0, a.shape[1], size):
        own = total if k == 0 else np.zeros_like(total)
        _chain(a[:, k : k + size], b[k : k + size], own, instruction)
        if k:
            with np.errstate(all="ignore"):
                total += own
    return total


def _share(count: int, instruction: Instruction) -> int:
    """How many products are summed in one chain: all, or with split-K a share of whole 64s (FP8: 128s)."""
    if instruction.split == 1:
        return count
    whole = 128 if max(instruction.a.bits, instruction.b.bits) <= 8 else 64
    return whole * math.ceil(math.ceil(count / whole) / instruction.split)


def _chain(a: np.ndarray, b: np.ndarray, total: np.ndarray, instruction: Instruction) -> None:
    """``total += a @ b``, one share of K."""
    short = -a.shape[1] % instruction.multiple
    left = np.pad(a, ((0, 0), (0, short))) if short else a
    right = np.pad(b, ((0, short), (0, 0))) if short else b
    with np.errstate(all="ignore"):
        _RUNS[instruction.arithmetic](left, right, total, instruction)


def _truncating(a, b, total: np.ndarray, instruction: Instruction, steps: int = 0) -> None:
    from fpemu.kernels import fused

    f, g, length = instruction.a, instruction.b, instruction.length
    single = _is_short(f) and _is_short(g)
    real = np.float32 if single else np.float64
    special = not all(np.isfinite(v).all() for v in (a, b, total))
    largest = _significand(f) * _significand(g) * length * 2**instruction.bits
    output = instruction.output
    rules = fused.Rules(
        instruction.bits,
        instruction.floor,
        instruction.accumulator.emin,
        output.fraction_bits,
        output.emin - output.fraction_bits,
        float(output.max) if instruction.nearest else float(FP32.max),
        length,
        steps or instruction.promote // length,
    )
    run = fused.loop(single, instruction.nearest, largest >= 2**31, special)
    right, right_exponents = taken_apart(b, g, real)
    left, left_exponents = taken_apart(a, f, real)

    def work(rows: slice, out: np.ndarray) -> None:
        run(left[rows], left_exponents[rows], right, right_exponents, out, rules)

    by_rows(work, left, total)


def _software(a, b, total: np.ndarray, instruction: Instruction) -> None:
    k = np.arange(a.shape[1]).reshape(-1, 8, 4)
    order = np.concatenate([k[:, :, :2].reshape(-1, 16), k[:, :, 2:].reshape(-1, 16)], 1).reshape(
        -1
    )
    _truncating(a[:, order], b[order], total, instruction.inner, steps=2)


def _fma(a, b, total: np.ndarray, instruction: Instruction) -> None:
    from fpemu.kernels import fma_chain

    run = fma_chain.loop(total.dtype == np.float32)
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    by_rows(lambda rows, out: run(left[rows], right, out), left, total)


def _exact(a, b, total: np.ndarray, instruction: Instruction) -> None:
    from fpemu.kernels import matrix_cores

    special = not all(np.isfinite(v).all() for v in (a, b, total))
    run = matrix_cores.exact(instruction.length == 4, special)
    left, right = (np.ascontiguousarray(v, np.float64) for v in (a, b))
    by_rows(lambda rows, out: run(left[rows], right, out), left, total)


def _flushed(a, b, total: np.ndarray, instruction: Instruction) -> None:
    from fpemu.kernels import matrix_cores

    run = matrix_cores.flushed(instruction.length == 4)
    left, right = (
        np.where(np.abs(v) < float(f.smallest_normal), np.float32(0), v)
        for v, f in ((a, instruction.a), (b, instruction.b))
    )
    by_rows(lambda rows, out: run(left[rows], right, out), left, total)


def _two_grids(a, b, total: np.ndarray, instruction: Instruction) -> None:
    from fpemu.kernels import two_grids

    f, g, bits, length = instruction.a, instruction.b, instruction.bits, instruction.length
    single = _is_short(f) and _is_short(g)
    real = np.float32 if single else np.float64
    left, left_exponents = taken_apart(a, f, real)
    right, right_exponents = taken_apart(b, g, real)
    largest = np.abs(left).max(initial=0) * np.float64(np.abs(right).max(initial=0))
    special = not (largest < two_grids.LIMIT and np.isfinite(total).all())
    halves = 2 if instruction.arithmetic == "two_grids_even_odd" else 1
    run = two_grids.loop(single, halves, special)

    def work(rows: slice, out: np.ndarray) -> None:
        run(left[rows], left_exponents[rows], right, right_exponents, out, bits, length)

    by_rows(work, left, total)


def by_rows(work, left: np.ndarray, total: np.ndarray) -> None:
    """``work(rows, those rows of total)`` for all rows."""
    steps = left.size * total.shape[1]
    threads.in_pieces(lambda i, j: work(slice(i, j), total[i:j]), len(left), steps)


def taken_apart(values: np.ndarray, f: Format, real: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values in the dtype `real`, and the exponents that they bring to an alignment: those of their
    exponent fields, and nothing for zeros and what is not finite."""
    from fpemu.kernels.fused import NOTHING

    exponents = np.frexp(values)[1].astype(np.int32) - np.int32(1)
    exponents = np.maximum(exponents, np.int32(f.emin))
    none = (values == 0) | ~np.isfinite(values)
    return np.ascontiguousarray(values, real), np.where(none, np.int32(NOTHING), exponents)


def _is_short(f: Format) -> bool:
    """Whether float32 holds products of such values, far from its ends."""
    return f.precision <= 12 and f.emax <= 16 and f.emin - f.fraction_bits >= -26


def _significand(f: Format) -> Fraction:
    """The largest significand of a value, below 2."""
    return Fraction(f.max) / Fraction(2) ** f.emax


_RUNS = {
    "truncating": _truncating,
    "software": _software,
    "fma": _fma,
    "exact": _exact,
    "flushed": _flushed,
    "two_grids": _two_grids,
    "two_grids_even_odd": _two_grids,
}
