"""Exact sums of products: every term is cut into pieces that fit bins, in which float64 adds exactly.

Bin q holds whole multiples of 2**s[q]; its `magic` is 1.5 * 2**(52 + s[q]), and adding and taking
away that rounds to such a multiple, exactly. What is left goes to the next bin, and after the last
one, whose unit divides every term, nothing is. The caller sees to it that neither a bin nor a product
overflows (`accumulation.exact_sums`).

Source of the cutting: S. Rump, T. Ogita, S. Oishi, "Accurate floating-point summation", SISC 2008.
"""

from __future__ import annotations

import functools

import numpy as np

from fpemu.kernels.bits import EXPONENT64, bits64
from fpemu.kernels.cache import kernel
from fpemu.kernels.sequential import fma64
from fpemu.kernels.step import NEAREST_EVEN
from fpemu.kernels.stepwise import added


@functools.cache
def loop(whole: bool):
    """The loop for products that are float64s (`whole`), or pairs of them (FP64 operands)."""

    @kernel
    def run(a, b, square, magic, high, low):
        """`high` holds where the sums start, shape (m, n), and receives them rounded to float64; `low`
        what is missing then, made odd."""
        bins, columns = magic.size, high.shape[1]
        sums, rest = np.empty((bins, columns)), np.empty(columns)
        for i in range(high.shape[0]):
            sums[:] = 0.0
            for k in range(-1, b.shape[0]):
                for part in range(1 if whole or k < 0 else 2):
                    if k < 0:
                        rest[:] = high[i]
                    else:
                        x, row = a[i, k], b[k]
                        for j in range(columns):
                            product = (row[j] if square else x) * row[j]
                            if part == 1:
                                product = fma64(row[j] if square else x, row[j], -product)
                            rest[j] = product
                    for q in range(bins):
                        m, total = magic[q], sums[q]
                        for j in range(columns):
                            piece = (rest[j] + m) - m
                            total[j] += piece
                            rest[j] -= piece
            for j in range(columns):
                high[i, j], low[i, j] = _collected(sums, magic, j)

    return run


@kernel
def _collected(sums, magic, j):
    """The sum of all bins as a float64 and an odd rest. The bins are changed."""
    last = magic.size - 1
    for q in range(last, 0, -1):  # what is a multiple of the next unit goes up
        up = (sums[q, j] + magic[q - 1]) - magic[q - 1]
        sums[q, j] -= up
        sums[q - 1, j] += up
    # Now a bin is at most half a unit of the one before: the first that is not empty decides.
    first = 0
    while first < last and sums[first, j] == 0.0:
        first += 1
    high, second = sums[first, j], 0.0
    if first < last:
        second = sums[first + 1, j]
        total = high + second
        high, second = total, second - (total - high)
    low = 0.0
    for q in range(last, first + 1, -1):
        low = added(sums[q, j], low, NEAREST_EVEN, True)
    return high, added(second, low, NEAREST_EVEN, True)


@kernel
def lowest_bit(x):
    """The exponent of the lowest bit set in any element of a flat array; 400 if that is larger, or if
    all are zero."""
    lowest = np.int64(400)
    for i in range(x.size):
        bits = bits64(x[i])
        field = (bits & EXPONENT64) >> 52
        significand = bits & np.int64((1 << 52) - 1)
        if field > 0:
            significand |= np.int64(1) << 52
        if significand != 0:
            last = bits64(np.float64(significand & -significand))  # a power of two
            place = (last >> 52) - 1023 + max(field, np.int64(1)) - 1075
            lowest = min(lowest, place)
    return lowest
