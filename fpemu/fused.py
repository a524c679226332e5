"""The fast road of + - * / and square root to nearest even: one pass, in the narrowest carrier
in which rounding twice is provably the same as rounding once.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from fpemu.carriers import carrier_dtype, has_step32, has_step64, target_of
from fpemu.formats import FP32, FP64, Format

OPERATIONS = ("add", "subtract", "multiply", "divide", "sqrt")


@functools.lru_cache(maxsize=512)
def carrier_for(op: str, f: Format, saturation: str) -> str | None:
    """ "float32", "float64" or None: where `op` on values of `f` may be computed, then rounded.

    A result rounded to q bits may be rounded again to p if q >= 2p + 2, for all five operations
    (Figueroa 1995): float32 for p <= 11, float64 for p <= 25. That holds while the carrier does not
    underflow. A product is exact in float32 if it cannot reach below 2**-149; where it can, the bits
    that float32 drops are harmless if the product is too short to reach from the halfway points of
    the smallest values of `f` down to them (BF16, not TF32). Quotients must stay normal, but for
    BF16, all of whose significands have been tried. Nor may an overflow of the carrier be taken for
    an infinity where saturation treats the two differently. FP32 is the processor's own.
    """
    regular = f.signed and f.has_nan and f.fraction_bits > 0 and f != FP64
    if op not in OPERATIONS or not regular or not has_step64(f):
        return None
    lowest = f.emin - f.fraction_bits
    if has_step32(f) and carrier_dtype(f) == np.float32:
        overflow_alike = f.has_inf and saturation != "propagate"
        if f == FP32:
            return "float32" if overflow_alike else "float64"
        short = 2 * f.precision + 2 <= 24
        in_range = 2 * lowest >= -149 and 2 * f.emax + 2 <= 127
        harmless = (lowest - 1) + 150 + 1 > 2 * f.precision and overflow_alike
        if op in ("add", "subtract"):
            innocent = f.emax + 1 <= 127 or overflow_alike
        elif op == "multiply":
            innocent = in_range or harmless
        elif op == "divide":
            normal = lowest - f.emax - 1 >= -126 and f.emax - lowest + 1 <= 127
            innocent = normal or (f.precision == 8 and f.emin == -126 and overflow_alike)
        else:
            innocent = True
        if short and innocent:
            return "float32"
    fits = f.precision <= 25 and lowest >= -300 and f.emax <= 300
    return "float64" if fits else None


def apply(op: str, operands: tuple[np.ndarray, ...], f: Format, saturation: str):
    """The result in the carrier of `f`, or None if only the general road is proven.

    `operands` hold values of `f` in its carrier and broadcast; `op` is rounded to nearest even with
    gradual underflow.
    """
    carrier = carrier_for(op, f, saturation)
    if carrier is None:
        return None
    from fpemu.kernels import elementwise as kernels

    own = carrier_dtype(f)
    shape = np.broadcast_shapes(*(v.shape for v in operands))
    out = np.empty(shape, own)
    if not out.size:
        return out
    x = _flat(operands[0], own, shape)
    single = operands[-1].size == 1  # a constant need not be repeated in memory
    y = _flat(operands[-1], own, (1,) if single else shape)
    run = kernels.in_float32 if carrier == "float32" else kernels.in_float64
    run[op, single](x, y, target_of(f, saturation, carrier=carrier), out.reshape(-1))
    return out


def _flat(v: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    v = np.asarray(v, dtype, order="C")
    if v.shape == shape or v.size == math.prod(shape):
        return v.reshape(-1)
    return np.ascontiguousarray(np.broadcast_to(v, shape)).reshape(-1)
