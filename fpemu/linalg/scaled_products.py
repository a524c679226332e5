"""`scaled_matmul`: products of block-scaled operands by Blackwell's matrix units."""

from __future__ import annotations

from fpemu.arrays import Array, asarray
from fpemu.errors import ArgumentError
from fpemu.formats import FP32
from fpemu.linalg.options import finish
from fpemu.matrix_units import MatrixUnit
from fpemu.matrix_units.scaled import multiply_scaled, scaled_instruction


def scaled_matmul(
    a: object,
    b: object,
    scales_a: object,
    scales_b: object,
    c: object = None,
    *,
    unit: MatrixUnit | str = "b200 tcgen05",
    out: object = None,
) -> Array:
    """``c + (a * scales_a) @ (b * scales_b)``, one scale for every block of each row of `a` and column of
    `b`, as a block-scaled instruction computes it (MXFP8, MXFP6, MXFP4, NVFP4).

    Parameters
    ----------
    a, b : array_like of shapes (m, k) and (k, n), formats E4M3, E5M2, E2M3, E3M2 or E2M1.
    scales_a, scales_b : Arrays of shapes (m, k / block) and (k / block, n) in E8M0 for blocks of 32; for
        operands that are both E2M1 also E4M3 or E8M0 for blocks of 16. The shapes say which blocks.
    c : initial accumulator, array_like of shape (m, n); rounded to FP32 if it is wider.
    unit : "b200 tcgen05" or "rtx50 mma".
    out : format of the result, by default FP32, that of the accumulator; one final rounding.

    A scale that is NaN makes its results NaN; the sign of E4M3 scales is ignored. k is padded with zeros
    to whole instructions. Returns an `Array`. Raises `ArgumentError` for shapes that do not fit,
    `UnsupportedError` for formats that there are no instructions for.

    Known from one simulator (MMA-Sim, arXiv 2511.10909) only, not confirmed by outputs of hardware.

    >>> import fpemu as fp
    >>> x = fp.array([[1.5] * 32], "e4m3")
    >>> half, four = fp.array([[0.5]], "e8m0"), fp.array([[4.0]], "e8m0")
    >>> scaled_matmul(x, x.T, half, four)
    fp.array([[144.0]], fp.FP32)
    """
    a, b, left, right = asarray(a), asarray(b), asarray(scales_a), asarray(scales_b)
    if any(x.ndim != 2 for x in (a, b, left, right)) or a.shape[1] != b.shape[0]:
        raise ArgumentError(
            f"scaled_matmul takes matrices (m, k) and (k, n) and their scales, got shapes {a.shape}, "
            f"{b.shape}, {left.shape} and {right.shape}"
        )
    if left.format != right.format:
        raise ArgumentError(
            f"scales must share a format, got {left.format.name} and {right.format.name}"
        )
    named = MatrixUnit.parse(unit) if isinstance(unit, str) else unit
    block = a.shape[1] // left.shape[1] if left.shape[1] else 32
    made = scaled_instruction(named, a.format, b.format, scale=left.format, block=block)
    start = None
    if c is not None:
        given = asarray(c)
        if given.shape != (a.shape[0], b.shape[1]):
            raise ArgumentError(
                f"c must have the result's shape {(a.shape[0], b.shape[1])}, got {given.shape}"
            )
        start = given.astype(FP32)._values
    total = multiply_scaled(a._values, b._values, left._values, right._values, made, start)
    return finish(total, made, FP32, out)
