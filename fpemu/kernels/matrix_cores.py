"""The sums of products of AMD's matrix cores, in float64 where that is exact, columns side by side.

Every function computes ``c + a @ b`` in place. Infinities and NaN are added up beside the sum, as in
`fused`.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import njit

from fpemu.kernels.bits import bits64
from fpemu.kernels.cache import kernel
from fpemu.kernels.fused import NOTHING, power_of_two

_TINY = np.float32(2.0**-126)  # FP32's smallest normal number
_LIMIT = 2.0**128


@njit(forceinline=True)
def _flushed(x):
    """x, or a zero of its sign if it is subnormal."""
    return x * np.float32(0.0) if abs(x) < _TINY else x


@functools.cache
def flushed(pairs: bool):
    """CDNA2, with steps of four products (`pairs` of sums) or of two."""

    @kernel
    def run(a, b, c):
        width = 4 if pairs else 2
        for i in range(a.shape[0]):
            out = c[i]
            for j in range(out.size):
                out[j] = np.float32(0.0) if abs(out[j]) < _TINY else out[j]
            for k in range(0, a.shape[1], width):
                x0, x1, y0, y1 = a[i, k], a[i, k + 1], b[k], b[k + 1]
                for j in range(out.size):
                    p0 = _flushed(np.float32(x0 * y0[j]))
                    p1 = _flushed(np.float32(x1 * y1[j]))
                    total = _flushed(np.float32(p0 + p1))
                    if pairs:
                        p2 = _flushed(np.float32(a[i, k + 2] * b[k + 2, j]))
                        p3 = _flushed(np.float32(a[i, k + 3] * b[k + 3, j]))
                        total = _flushed(np.float32(total + _flushed(np.float32(p2 + p3))))
                    out[j] = _flushed(np.float32(out[j] + total))

    return run


@njit(forceinline=True)
def _floored(x, place):
    """The largest multiple of 2**place that is not above x."""
    return math.floor(x * power_of_two(-place)) * power_of_two(place)


@njit(forceinline=True)
def _log2(x):
    """floor(log2(abs(x))) for x that is no zero; far below everything for a zero."""
    return ((bits64(x) >> np.int64(52)) & np.int64(0x7FF)) - np.int64(1023)


@njit(forceinline=True)
def _met(top, total, c, bits, drop):
    """The products' sum and the accumulator on the second grid, rounded down, then to nearest."""
    own = max(_log2(np.float64(c)), np.int64(-126))
    common = max(np.int64(top), own)
    total = _floored(total, common - bits - 8)
    if not (drop and own < common - bits - 1):
        total += _floored(np.float64(c), common - bits)
    place = max(_log2(total), np.int64(-126))
    return np.float32(_floored(total, place - 31) + 0.0)


@functools.cache
def two_grids(length: int, halves: int):
    """CDNA3: products in steps of `length`, summed in one or two `halves` (even and odd ones)."""

    @kernel
    def run(a, ea, b, eb, c, bits):
        tops, totals = np.empty(halves, np.int64), np.empty(halves)
        for i in range(a.shape[0]):
            for j in range(c.shape[1]):
                value = c[i, j]
                for k0 in range(0, a.shape[1], length):
                    odd = np.float64(value) - np.float64(value)
                    odd = np.float64(0.0) if odd == 0.0 else np.float64(value)
                    tops[:] = 2 * NOTHING
                    for k in range(k0, k0 + length):
                        half = (k - k0) % halves
                        tops[half] = max(tops[half], np.int64(ea[i, k]) + np.int64(eb[k, j]))
                    totals[:] = 0.0
                    for k in range(k0, k0 + length):
                        half = (k - k0) % halves
                        product = np.float64(a[i, k]) * np.float64(b[k, j])
                        if product >= _LIMIT:
                            odd += np.inf
                        elif product <= -_LIMIT:
                            odd -= np.inf
                        elif product != product:
                            odd = odd + np.float64(np.nan)
                        elif product != 0.0:
                            unit = tops[half] - bits
                            totals[half] += np.float64(
                                np.int64(product * power_of_two(-unit))
                            ) * power_of_two(unit)
                    if odd != 0.0:
                        value = np.float32(odd)
                        continue
                    top, total = tops[0], totals[0]
                    if halves == 2:
                        top = max(top, tops[1])
                        if top > NOTHING:
                            total = _floored(totals[0], top - bits) + _floored(
                                totals[1], top - bits
                            )
                    value = _met(top, total, value, np.int64(bits), halves == 2)
                c[i, j] = value

    return run
