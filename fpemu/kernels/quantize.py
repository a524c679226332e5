"""Rounding whole arrays: a flat array of one carrier in, a flat array of the other or same out.

`quantize32[mode]` and `quantize64[mode]` are compiled for one rounding mode each, when first
called.
"""

from __future__ import annotations

from fpemu.kernels.cache import kernel
from fpemu.kernels.step import MASKED, MODES, NARROW, WIDE, masked, narrow, native64, wide


def _quantize32(mode):
    @kernel
    def quantize32(x, target, out):
        """Round float32 `x` to float32 `out` (`target.kind` is NARROW or MASKED)."""
        if target.kind == NARROW:
            for i in range(x.size):
                out[i] = narrow(x[i], target, mode)
        elif target.kind == MASKED:
            for i in range(x.size):
                out[i] = masked(x[i], target, mode)

    return quantize32


def _quantize64(mode):
    @kernel
    def quantize64(x, target, out):
        """Round float64 `x` to `out`, float32 or float64 (`target.kind` is WIDE or NATIVE64)."""
        if target.kind == WIDE:
            for i in range(x.size):
                out[i] = wide(x[i], target, mode)
        else:
            for i in range(x.size):
                out[i] = native64(x[i], target, mode)

    return quantize64


quantize32 = tuple(_quantize32(mode) for mode in MODES)
quantize64 = tuple(_quantize64(mode) for mode in MODES)
