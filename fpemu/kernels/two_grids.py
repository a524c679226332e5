"""The sum of products of AMD's CDNA3, columns side by side, as in `fused`.

A step takes `length` products, in one or two halves (even and odd ones). Each half is truncated to
multiples of 2**(E - bits), E being the largest of its exponents, and added in integers of 32 bits; that
is the first grid. On the second one, which reaches eight bits lower, the sum meets the accumulator c,
rounded down; then the sum of both is rounded down to 32 bits, and to FP32 to nearest even. All integers
there are below 2**38, so that float64 holds them exactly.

Infinities, NaN, and products from 2**128 on, which count as infinities, are added up beside the sum.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import njit

from fpemu.kernels.bits import bits64
from fpemu.kernels.cache import kernel
from fpemu.kernels.fused import NOTHING, is_special, power_of_two, power_of_two32

LIMIT = 2.0**128
_COLUMNS = 256
_BIG = 6755399441055744.0  # 1.5 * 2**52
_EMIN = -126  # of FP32


@njit(forceinline=True)
def _floor(x):
    """The largest integer that is not above x, for magnitudes below 2**51."""
    nearest = (x + _BIG) - _BIG
    return nearest - 1.0 if nearest > x else nearest


@njit(forceinline=True)
def _log2(x):
    """floor(log2(abs(x))); far below everything for a zero."""
    return np.int64((bits64(x) >> np.int64(52)) & np.int64(0x7FF)) - np.int64(1023)


@njit(forceinline=True)
def _tops(e, ea, eb, i, first, last, stride, left, right):
    """The largest exponents of the columns' products, every `stride`-th; four at a time."""
    e[:] = np.int32(2 * NOTHING)
    for k in range(first, last, 4 * stride):
        k1, k2, k3 = k + stride, k + 2 * stride, k + 3 * stride
        e0, e1, e2, e3 = ea[i, k], ea[i, k1], ea[i, k2], ea[i, k3]
        r0, r1, r2, r3 = (
            eb[k, left:right],
            eb[k1, left:right],
            eb[k2, left:right],
            eb[k3, left:right],
        )
        for j in range(e.size):
            high = max(np.int32(e0 + r0[j]), np.int32(e1 + r1[j]))
            low = max(np.int32(e2 + r2[j]), np.int32(e3 + r3[j]))
            e[j] = max(e[j], max(high, low))


@njit(forceinline=True)
def _scale64(exponent):
    return power_of_two(min(np.int64(exponent), np.int64(300)))


@njit(forceinline=True)
def _scale32(exponent):
    return power_of_two32(min(np.int32(exponent), np.int32(100)))


@njit(forceinline=True)
def _lifted(total, shift):
    """``total * 2**shift``, rounded down; a `shift` far down leaves 0 or, of what is negative, -1."""
    return _floor(np.float64(total) * power_of_two(max(np.int64(shift), np.int64(-70))))


@njit(forceinline=True)
def _met(total, top, c, bits, drop):
    """The products' sum, in units of 2**(top - bits), and the accumulator, rounded."""
    infinite = is_special(c)
    value = np.float64(np.float32(0.0) if infinite else c)
    own = max(_log2(value), np.int64(_EMIN))
    common = max(np.int64(top), own)
    kept = _floor(value * power_of_two(bits - common)) * 256.0
    dropped = drop and own < common - bits - np.int64(1)
    both = _lifted(total, np.int64(top) - common + np.int64(8)) + (0.0 if dropped else kept)
    unit = common - bits - np.int64(8)
    place = max(_log2(both) + unit, np.int64(_EMIN)) - np.int64(31)
    excess = max(place - unit, np.int64(0))
    cut = _floor(both * power_of_two(-excess)) * power_of_two(excess)
    return c if infinite else np.float32(cut * power_of_two(unit))


@functools.cache
def loop(single: bool, halves: int, special: bool):
    """The loop for products in float32 (`single`) or float64, in one or two `halves`, with a look at
    `special` values and large products.

    The kernel computes ``c + a @ b`` in place: a (m, k), b (k, n), c (m, n), k a multiple of `length`,
    and that of four times `halves`. Truncated products are below 2**(bits + 2).
    """
    real = np.float32 if single else np.float64

    @kernel
    def run(a, ea, b, eb, c, bits, length):
        m, depth, n = a.shape[0], a.shape[1], b.shape[1]
        exponents = np.empty((2, _COLUMNS), np.int32)
        scales = np.empty(_COLUMNS, real)
        sums = np.empty((2, _COLUMNS), np.int32)
        beside = np.zeros(_COLUMNS, np.float64)
        kept, kept64 = np.int32(bits), np.int64(bits)
        for left in range(0, n, _COLUMNS):
            right = min(left + _COLUMNS, n)
            count = right - left
            s, o = scales[:count], beside[:count]
            e0, e1 = exponents[0, :count], exponents[1, :count]
            t0, t1 = sums[0, :count], sums[1, :count]
            for k0 in range(0, depth, length):
                for i in range(m):
                    total = c[i, left:right]
                    if special:
                        for j in range(count):
                            o[j] = total[j] if is_special(total[j]) else np.float32(0.0)
                    for half in range(halves):
                        e, t = exponents[half, :count], sums[half, :count]
                        first, last = k0 + half, k0 + length
                        _tops(e, ea, eb, i, first, last, halves, left, right)
                        for j in range(count):
                            up = np.int32(kept - e[j])
                            s[j] = _scale32(up) if single else _scale64(up)
                            t[j] = np.int32(0)
                        if special:
                            for k in range(first, last, halves):
                                x, y = np.float64(a[i, k]), b[k, left:right]
                                for j in range(count):
                                    product = x * np.float64(y[j])
                                    finite = abs(product) < LIMIT
                                    o[j] += 0.0 if finite else product * np.inf
                                    added = product if finite else 0.0
                                    t[j] += np.int32(added * np.float64(s[j]))
                        else:
                            for k in range(first, last, 4 * halves):
                                k1, k2, k3 = k + halves, k + 2 * halves, k + 3 * halves
                                x0, x1, x2, x3 = a[i, k], a[i, k1], a[i, k2], a[i, k3]
                                y0, y1 = b[k, left:right], b[k1, left:right]
                                y2, y3 = b[k2, left:right], b[k3, left:right]
                                for j in range(count):
                                    p0 = np.int32(real(real(x0 * y0[j]) * s[j]))
                                    p1 = np.int32(real(real(x1 * y1[j]) * s[j]))
                                    p2 = np.int32(real(real(x2 * y2[j]) * s[j]))
                                    p3 = np.int32(real(real(x3 * y3[j]) * s[j]))
                                    t[j] += np.int32(np.int32(p0 + p1) + np.int32(p2 + p3))
                    if halves == 2:
                        for j in range(count):
                            top = max(e0[j], e1[j])
                            even = _lifted(t0[j], e0[j] - top)
                            odd = _lifted(t1[j], e1[j] - top)
                            e0[j], t0[j] = top, np.int32(even + odd)
                    for j in range(count):
                        total[j] = _met(t0[j], e0[j], total[j], kept64, halves == 2)
                    if special:
                        for j in range(count):
                            total[j] = total[j] if o[j] == 0.0 else np.float32(o[j])

    return run
