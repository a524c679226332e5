"""The sums of products of AMD's CDNA1 and CDNA2, in registers, columns side by side; CDNA3's are in
`two_grids`.

Every function computes ``c + a @ b`` in place. Infinities and NaN are added up beside the sum, as in
`fused`.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import njit

from fpemu.kernels.bits import bits64, float64_of
from fpemu.kernels.cache import kernel
from fpemu.kernels.fused import is_special

_TINY = np.float32(2.0**-126)  # FP32's smallest normal number
_HIGH = 1.5 * 2.0**44  # adding and taking it away rounds to a multiple of 2**-8


@njit(forceinline=True)
def _two_sum(x, y):
    """x + y rounded, and what that left out: exact together (Knuth)."""
    total = x + y
    second = total - x
    return total, (x - (total - second)) + (y - second)


@njit(forceinline=True)
def _to_odd(x, y):
    """x + y; where it is inexact, the neighbour whose last bit is 1."""
    total, rest = _two_sum(x, y)
    bits = bits64(total)
    beyond = (rest > 0.0) == (total > 0.0)  # in magnitude; if not, the sum lies below
    neighbour = float64_of(np.int64(bits + (np.int64(1) if beyond else np.int64(-1))))
    even = (bits & np.int64(1)) == np.int64(0)
    return neighbour if even & (rest != 0.0) else total


@njit(forceinline=True)
def _rounded_once(high, low, c):
    """high + low + c in float32, to nearest even; a zero is positive.

    Add3 of S. Boldo and G. Melquiond (IEEE Trans. Comput. 57(4), 2008) with one more sum to odd. It is
    right because `t` or `v` being inexact means that nothing cancelled in `t`: then v is within two
    last places of `t`, and on the same side as the true rest of every number that float32 could round
    at, since those are even. Float64 has more than two bits beyond float32 everywhere, and nothing
    here is as small as its smallest normal number.
    """
    u, below_u = _two_sum(high, low)
    t, below_t = _two_sum(c, u)
    v = _to_odd(below_t, below_u)
    return np.float32(_to_odd(t, v) + 0.0)


@functools.cache
def exact(four: bool, special: bool):
    """CDNA1: steps of `four` products of FP16 or of two of BF16, a and b in float64; with a look at
    `special` values, or for finite ones only.

    Products of FP16 are multiples of 2**-48 below 2**32. Their parts from 2**-8 on and those below are
    added apart, which is exact for four. Two products of BF16 need no such care.
    """

    @kernel
    def run(a, b, c):
        width = 4 if four else 2
        for i in range(a.shape[0]):
            out = c[i]
            for k in range(0, a.shape[1], width):
                x0, x1, y0, y1 = a[i, k], a[i, k + 1], b[k], b[k + 1]
                last = k + width
                x2, x3, y2, y3 = a[i, last - 2], a[i, last - 1], b[last - 2], b[last - 1]
                for j in range(out.size):
                    before = out[j]
                    p0, p1 = x0 * y0[j], x1 * y1[j]
                    p2, p3 = (x2 * y2[j], x3 * y3[j]) if four else (0.0, 0.0)
                    beside = 0.0
                    if special:
                        beside = ((p0 - p0) + (p1 - p1)) + ((p2 - p2) + (p3 - p3))
                        odd = beside != 0.0  # NaN
                        beside = ((p0 + p1) + (p2 + p3)) if odd else 0.0
                    if four:
                        h0, h1 = (p0 + _HIGH) - _HIGH, (p1 + _HIGH) - _HIGH
                        h2, h3 = (p2 + _HIGH) - _HIGH, (p3 + _HIGH) - _HIGH
                        high = (h0 + h1) + (h2 + h3)
                        low = ((p0 - h0) + (p1 - h1)) + ((p2 - h2) + (p3 - h3))
                    else:
                        high, low = p0, p1
                    infinite = is_special(before)
                    own = np.float64(np.float32(0.0) if infinite else before)
                    after = _rounded_once(high, low, own)
                    if special:
                        after = np.float32(beside + own) if beside != 0.0 else after
                        before = np.float32(before + beside)
                    out[j] = before if infinite else after

    return run


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
