"""Sums and products in which every product and every partial sum is rounded, in sequential order.

Each element of the result is built by additions in the order k = 0, 1, 2, ..., starting from
what `c` held, whatever the shape or the number of threads. The loops run k outside and columns
inside: one vector instruction then rounds several columns at once, and no two columns ever meet.

`counts`, when given, receives what happened inside (see `counting`); other formats than FP64 have
`stepwise` for that. When it is None, Numba compiles the counting away. Counting never changes a result.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from fpemu.kernels.cache import kernel
from fpemu.kernels.counting import (
    BITS_CANCELLED,
    CANCELLED,
    FIRST_OVERFLOW,
    INEXACT,
    INVALID,
    NONZERO,
    OVERFLOW,
    SUBNORMAL,
    SWAMPED,
    UNDERFLOW,
    VALUES,
    ZEROED,
    cancelled_bits,
)
from fpemu.kernels.step import (
    GENERAL,
    MASKED,
    NARROW,
    NEAREST_EVEN,
    WIDE,
    masked,
    narrow,
    native64,
    wide,
)


@njit(error_model="numpy")
def _dropped(product, a, b):
    """Zero if the float64 `product` of a and b is exact; else what is missing, times 2**600 or so.

    Dekker's error term, with the smaller factor scaled up where it would underflow. Infinities of
    the operands are not the product's fault.
    """
    if not abs(product) < np.inf:
        return 1.0 if abs(a) < np.inf and abs(b) < np.inf else 0.0
    if product == 0.0:
        return a if b != 0.0 else 0.0  # a nonzero product that vanished, or no product at all
    if abs(product) < 2.0**-900:
        if abs(a) < abs(b):
            a = a * 2.0**600
        else:
            b = b * 2.0**600
        small = product * 2.0**600
        product = a * b
        if small != product:
            return product - small
    elif abs(product) > 2.0**900:
        if abs(a) > abs(b):
            a = a * 2.0**-600
        else:
            b = b * 2.0**-600
        product = a * b
    a_scaled, b_scaled = 134217729.0 * a, 134217729.0 * b
    a_high, b_high = a_scaled - (a_scaled - a), b_scaled - (b_scaled - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _row(step, scalar):
    """c[j] = round(c[j] + round(a * b[j])) for all j: the inner loop for one rounding step."""

    @njit(error_model="numpy")
    def row(a, b, c, target):
        for j in range(c.size):
            c[j] = step(scalar(c[j] + step(scalar(a * b[j]), target)), target)

    return row


@njit(error_model="numpy")
def _counted_row_native64(a, b, c, target, counts, k):
    """The same for FP64, with counts of what happened. What float64 itself rounded is told by error
    terms; the rules for infinity and NaN are no matter of `saturation`, which FP64 has none of here."""
    inf, one, none = np.inf, np.int64(1), np.int64(0)
    nonzero = inexact = zeroed = underflow = subnormal = overflow = swamped = none
    invalid = cancelled = gone = none
    for j in range(c.size):
        exact = a * b[j]
        product = _native64(exact, target)
        before = c[j]
        total = before + product
        after = _native64(total, target)
        c[j] = after
        something = (a != 0) & (b[j] != 0)
        product_changed = (product != exact) | (_dropped(exact, a, b[j]) != 0)
        again = total - before
        dropped = (before - (total - again)) + (product - again)
        sum_changed = (after != total) | (dropped != 0)
        tiny_product = (abs(product) < target.tiny) & something
        tiny_before = (abs(exact) < target.tiny_edge) & something
        finite_in = (abs(a) < inf) & (abs(b[j]) < inf)
        finite_sum = (abs(before) < inf) & (abs(product) < inf)
        nonzero += np.int64(something | (exact != 0)) + np.int64(total != 0)
        # An infinity may be saturated, which changes it.
        kept_product = finite_in | ((abs(exact) == inf) & (abs(product) < inf))
        kept_sum = finite_sum | ((abs(total) == inf) & (abs(after) < inf))
        inexact += one if product_changed & kept_product else none
        inexact += one if sum_changed & kept_sum else none
        zeroed += one if tiny_product & (product == 0) else none
        underflow += one if tiny_before & product_changed else none
        subnormal += one if tiny_product & (product != 0) else none
        subnormal += one if (abs(after) < target.tiny) & (after != 0) else none
        overflow += one if finite_in & ~(abs(exact) < target.overflows_from) else none
        overflow += one if finite_sum & ~(abs(total) < target.overflows_from) else none
        # NaN of what is no NaN.
        numbers_in = (a == a) & (b[j] == b[j]) & ~finite_in
        numbers_sum = (before == before) & (product == product) & ~finite_sum
        invalid += one if numbers_in & (product != product) else none
        invalid += one if numbers_sum & (after != after) else none
        swamped += one if (product != 0) & (after == before) & finite_sum else none
        lost = cancelled_bits(before, product, total)
        cancelled += one if lost > 0 else none
        gone = max(gone, lost if total != 0 else none)
    counts[VALUES] += 2 * c.size
    counts[NONZERO] += nonzero
    counts[INEXACT] += inexact
    counts[UNDERFLOW] += underflow
    counts[ZEROED] += zeroed
    counts[SUBNORMAL] += subnormal
    counts[OVERFLOW] += overflow
    counts[SWAMPED] += swamped
    counts[INVALID] += invalid
    counts[CANCELLED] += cancelled
    counts[BITS_CANCELLED] = max(counts[BITS_CANCELLED], gone >> 52)
    if overflow and (counts[FIRST_OVERFLOW] < 0 or k < counts[FIRST_OVERFLOW]):
        counts[FIRST_OVERFLOW] = k


@njit
def _narrow(x, target):
    return narrow(x, target, NEAREST_EVEN + GENERAL, np.int32(0), True)


@njit
def _narrow_without_minus_zero(x, target):
    return narrow(x, target, NEAREST_EVEN + GENERAL, np.int32(0), False)


@njit
def _masked(x, target):
    return masked(x, target, NEAREST_EVEN + GENERAL, np.int32(0))


@njit
def _wide(x, target):
    return wide(x, target, NEAREST_EVEN, np.uint64(0), 0, 0)


@njit
def _native64(x, target):
    return native64(x, target, NEAREST_EVEN)


_row_narrow = _row(_narrow, np.float32)
_row_narrow_without_minus_zero = _row(_narrow_without_minus_zero, np.float32)
_row_masked = _row(_masked, np.float32)
_row_wide = _row(_wide, np.float64)
_row_native64 = _row(_native64, np.float64)


@kernel
def matmul32(a, b, c, target):
    """c += a @ b, rounded at every step, in float32 carriers: (m, k), (k, n), (m, n)."""
    for i in range(a.shape[0]):
        if target.kind == NARROW and target.minus_zero:
            for k in range(a.shape[1]):
                _row_narrow(a[i, k], b[k], c[i], target)
        elif target.kind == NARROW:
            for k in range(a.shape[1]):
                _row_narrow_without_minus_zero(a[i, k], b[k], c[i], target)
        elif target.kind == MASKED:
            for k in range(a.shape[1]):
                _row_masked(a[i, k], b[k], c[i], target)


@kernel
def matmul64(a, b, c, target, counts):
    """c += a @ b, rounded at every step, in float64 carriers: (m, k), (k, n), (m, n)."""
    for i in range(a.shape[0]):
        if target.kind == WIDE:
            for k in range(a.shape[1]):
                _row_wide(a[i, k], b[k], c[i], target)
        elif counts is None:
            for k in range(a.shape[1]):
                _row_native64(a[i, k], b[k], c[i], target)
        else:
            for k in range(a.shape[1]):
                _counted_row_native64(a[i, k], b[k], c[i], target, counts, k)
