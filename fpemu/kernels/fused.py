"""The truncating sum of products of NVIDIA's matrix units, columns side by side.

One step takes `length` products and the accumulator c. They are truncated to multiples of 2**(E - bits),
E being the largest of their exponents; the sum of these integers is rounded once. No bit fields are
taken apart in the loops: products of short operands are exact floats (float32 where that holds them,
else float64), a power of two scales them to the unit, and the processor's conversion to integers
truncates magnitudes, which is the rule of the hardware. `ea` and `eb` hold the exponents that operands
bring to the alignment (`NOTHING` for zeros).

Infinities and NaN stay out of the sum. They are added up as floats beside it (``inf - inf`` and
``0 * inf`` are NaN there, too), and what is not zero then is the result of the step.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import njit

from fpemu.kernels.bits import bits32, bits64, float32_of, float64_of, left32, right32
from fpemu.kernels.cache import kernel

NOTHING = -(1 << 20)  # the exponent of zero: below every other, also twice
_COLUMNS = 256  # computed together: what a step needs of them stays in the first-level cache
_BIG = (
    6755399441055744.0  # 1.5 * 2**52: adding and taking it away rounds to an integer, ties to even
)
_SIZE32 = np.int32(0x7FFFFFFF)
_INFINITY = np.int32(0x7F800000)


class Rules(NamedTuple):
    """The numbers of an instruction."""

    bits: int
    floor: int
    emin: int  # smallest exponent of the accumulator's normal numbers
    fraction: int  # fraction bits of a step's result
    least: int  # exponent of its smallest positive number
    largest: float  # beyond it lies infinity
    length: int  # products of a step
    steps: int  # after so many the accumulator is added to the total, 0 for never


@njit(forceinline=True)
def power_of_two(e):
    """2.0**e as float64, for -1022 <= e <= 1023."""
    return float64_of(np.int64((np.int64(e) + np.int64(1023)) << np.int64(52)))


@njit(forceinline=True)
def power_of_two32(e):
    """2.0**e as float32, for -126 <= e <= 127."""
    return float32_of(left32(np.int32(e + np.int32(127)), np.int32(23)))


@njit(forceinline=True)
def _ended(value, rules, nearest):
    """`value` rounded to the format in which a step ends; a zero is positive."""
    e = np.int64((bits64(value) >> np.int64(52)) & np.int64(0x7FF)) - np.int64(1023)
    place = max(np.int64(e - rules.fraction), np.int64(rules.least))
    scaled = value * power_of_two(-place)
    whole = (scaled + _BIG) - _BIG if nearest else np.float64(np.int32(scaled))
    rounded = (whole + 0.0) * power_of_two(place)
    infinite = np.inf if rounded > 0.0 else -np.inf
    return np.float32(infinite if abs(rounded) > rules.largest else rounded)


@njit(forceinline=True)
def _exponent(c, rules):
    """The exponent of the accumulator."""
    size = np.int32(bits32(c) & _SIZE32)
    e = np.int32(right32(size, np.int32(23)) - np.int32(127))
    return np.int32(NOTHING) if size == np.int32(0) else max(e, np.int32(rules.emin))


@njit(forceinline=True)
def _scale64(exponent, bits):
    return power_of_two(np.int64(bits) - np.int64(exponent))


@njit(forceinline=True)
def _scale32(exponent, bits):
    # Beyond these limits all products are zero, or all are cut off.
    return power_of_two32(min(max(np.int32(bits - exponent), np.int32(-70)), np.int32(100)))


@njit(forceinline=True)
def is_special(c):
    """Whether a float32 is an infinity or NaN."""
    return np.int32(bits32(c) & _SIZE32) >= _INFINITY


@njit(forceinline=True)
def _align(e, ea, eb, i, k0, length, left, right):
    """The largest exponents of the columns' products, where they are above `e`; four at a time."""
    for k in range(k0, k0 + length, 4):
        e0, e1, e2, e3 = ea[i, k], ea[i, k + 1], ea[i, k + 2], ea[i, k + 3]
        r0, r1 = eb[k, left:right], eb[k + 1, left:right]
        r2, r3 = eb[k + 2, left:right], eb[k + 3, left:right]
        for j in range(e.size):
            high = max(np.int32(e0 + r0[j]), np.int32(e1 + r1[j]))
            low = max(np.int32(e2 + r2[j]), np.int32(e3 + r3[j]))
            e[j] = max(e[j], max(high, low))


@njit(forceinline=True)
def _finish(total, t, e, bits, rules, nearest):
    """The integer sums and the accumulator's own, rounded; an infinite accumulator stays."""
    for j in range(total.size):
        before = total[j]
        infinite = is_special(before)
        own = np.float64(np.float32(0.0) if infinite else before)
        kept = np.float64(np.int32(own * power_of_two(bits - e[j])))
        after = _ended((np.float64(t[j]) + kept) * power_of_two(e[j] - bits), rules, nearest)
        total[j] = before if infinite else after


@functools.cache
def loop(single: bool, nearest: bool, wide: bool, special: bool):
    """The loop for products in float32 (`single`) or float64, sums rounded to `nearest` or toward zero,
    integer sums that may not fit 32 bits (`wide`), and a look at `special` values.

    The kernel computes ``c + a @ b`` in place: a (m, k), b (k, n), c (m, n), k a multiple of the
    products of a step, which are a multiple of four. With ``rules.steps`` c is the total, to which every
    so many steps are added in float32 (in FP16 rounded to that: both to nearest even).
    """
    real = np.float32 if single else np.float64
    whole = np.float64 if wide else np.int32

    @kernel
    def run(a, ea, b, eb, c, rules):
        m, depth, n, length = a.shape[0], a.shape[1], b.shape[1], rules.length
        exponents = np.empty(_COLUMNS, np.int32)
        scales = np.empty(_COLUMNS, real)
        sums = np.empty(_COLUMNS, whole)
        beside = np.zeros(_COLUMNS, np.float64)
        running = np.zeros((m if rules.steps else 0, _COLUMNS), np.float32)
        bits, floor = np.int32(rules.bits), np.int32(rules.floor)
        for left in range(0, n, _COLUMNS):
            right = min(left + _COLUMNS, n)
            count = right - left
            e, s, t, o = exponents[:count], scales[:count], sums[:count], beside[:count]
            for k0 in range(0, depth, length):
                for i in range(m):
                    total = running[i, :count] if rules.steps else c[i, left:right]
                    for j in range(count):
                        e[j] = max(_exponent(total[j], rules), floor)
                        t[j] = whole(0)
                    _align(e, ea, eb, i, k0, length, left, right)
                    for j in range(count):
                        # (a function among the closure's cells would spoil the cache)
                        s[j] = _scale32(e[j], bits) if single else _scale64(e[j], bits)
                    if special:
                        for j in range(count):
                            o[j] = total[j] if is_special(total[j]) else np.float32(0.0)
                        for k in range(k0, k0 + length):
                            x, y = a[i, k], b[k, left:right]
                            for j in range(count):
                                product = real(x * y[j])
                                finite = product - product == real(0.0)
                                o[j] += real(0.0) if finite else product
                                kept = product if finite else real(0.0)
                                t[j] += whole(np.int32(real(kept * s[j])))
                    else:
                        for k in range(k0, k0 + length, 4):
                            x0, x1, x2, x3 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
                            y0, y1 = b[k, left:right], b[k + 1, left:right]
                            y2, y3 = b[k + 2, left:right], b[k + 3, left:right]
                            for j in range(count):
                                p0 = np.int32(real(real(x0 * y0[j]) * s[j]))
                                p1 = np.int32(real(real(x1 * y1[j]) * s[j]))
                                p2 = np.int32(real(real(x2 * y2[j]) * s[j]))
                                p3 = np.int32(real(real(x3 * y3[j]) * s[j]))
                                t[j] += whole(np.int32(np.int32(p0 + p1) + np.int32(p2 + p3)))
                    _finish(total, t, e, bits, rules, nearest)
                    if special:
                        for j in range(count):
                            total[j] = total[j] if o[j] == 0.0 else np.float32(o[j])
                    done = k0 + length
                    if rules.steps and (done == depth or done // length % rules.steps == 0):
                        out = c[i, left:right]
                        for j in range(count):
                            both = np.float32(out[j] + total[j])
                            out[j] = _ended(np.float64(both), rules, nearest) if nearest else both
                            total[j] = np.float32(0.0)

    return run
