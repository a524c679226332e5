"""Sums in which every step is rounded in any mode, each step to a format of its own, in float64.

A step's exact result has to be rounded once. Products of short operands are exact in float64. A sum
is made *odd* where the format, the mode or operands of other formats ask for it: its last bit tells
on which side of it the exact sum lies, so that rounding again to 51 bits or fewer cannot go wrong
(Boldo and Melquiond 2008).

`c`, and with it the result, is taken as a flat array, of which elements ``first`` to ``last - 1``
are computed from terms ``k0`` to ``k1 - 1``: stochastic rounding works tile by tile. `random` holds
its thresholds (see `philox.thresholds`), of shape (number of steps, elements), the steps of term k0
first; for other modes it is None.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import njit

from fpemu.kernels.bits import MAGNITUDE64, SIGN64, bits64, float64_of
from fpemu.kernels.cache import kernel
from fpemu.kernels.step import FLUSH, TOWARD_NEGATIVE, Target, wide


class Place(NamedTuple):
    """Where a step's result goes: its format, and what subnormals are there."""

    target: Target
    keep_from: float  # smaller results become zeros (ftz)
    read_from: float  # smaller values are read as zeros (daz)


class Work(NamedTuple):
    """Which elements of the result are computed, from which terms."""

    first: int
    last: int
    k0: int
    k1: int
    square: bool  # whether the terms are the squares of `b`


@njit(forceinline=True)
def zero_below(x, least, minus_zero):
    """x, or a zero of its sign if it is smaller than `least`."""
    zero = np.int64(bits64(x) & SIGN64) if minus_zero else np.int64(0)
    return float64_of(zero) if abs(x) < least else x


@njit(forceinline=True)
def stored(x, place, mode, random):
    """The one rounding in which every step ends."""
    rounded = wide(x, place.target, mode & 7, random, None, None)
    if mode & FLUSH:
        rounded = zero_below(rounded, place.keep_from, place.target.minus_zero)
    return rounded


@njit(forceinline=True)
def read(x, place, mode):
    """A value as an operand."""
    return zero_below(x, place.read_from, place.target.minus_zero) if mode & FLUSH else x


@njit(forceinline=True)
def added(a, b, mode, odd):
    """a + b in float64: rounded, or where `odd` says so made odd; IEEE 754 6.3 on the sign of zero."""
    total = a + b
    if odd:
        again = total - a
        error = (a - (total - again)) + (b - again)
        bits = bits64(total)
        outward = (error > 0.0) == (total > 0.0)
        moved = np.int64(bits + (np.int64(1) if outward else np.int64(-1)))
        # An error that is NaN comes from infinities.
        dropped = (abs(error) > 0.0) & ((bits & np.int64(1)) == np.int64(0))
        total = float64_of(np.int64(moved if dropped else bits))
    if mode & 7 == TOWARD_NEGATIVE:
        # A zero is negative unless both operands are positive zeros.
        bits = bits64(total)
        signs = np.int64(bits64(a) | bits64(b))
        minus = ((bits & MAGNITUDE64) == np.int64(0)) & (signs != np.int64(0))
        total = float64_of(np.int64(SIGN64 if minus else bits))
    return total


@njit(forceinline=True)
def _at(random, step, j):
    """The threshold of a step, or nothing."""
    if random is None:
        return 0.0
    return random[step, j]


SEQUENTIAL, KAHAN, NEUMAIER = range(3)


@njit(forceinline=True)
def _sequential(term, total, places, mode, odd, random, k, j):
    """The new total; `k` is the number of the addition's threshold."""
    sum_ = places[1]
    new = added(read(total, sum_, mode), term, mode, odd)
    return stored(new, sum_, mode, _at(random, k, j))


@njit(forceinline=True)
def _kahan(term, total, error, places, mode, odd, random, k, j):
    """The new total and correction; `k` is the number of the first threshold."""
    sum_, correction = places[1], places[2]
    before = read(total, sum_, mode)
    term = added(term, -read(error, correction, mode), mode, odd)
    term = read(stored(term, correction, mode, _at(random, k, j)), correction, mode)
    after = stored(added(before, term, mode, odd), sum_, mode, _at(random, k + 1, j))
    gained = added(read(after, sum_, mode), -before, mode, odd)
    gained = read(stored(gained, correction, mode, _at(random, k + 2, j)), correction, mode)
    rest = added(gained, -term, mode, odd)
    return after, stored(rest, correction, mode, _at(random, k + 3, j))


@njit(forceinline=True)
def _neumaier(term, total, error, places, mode, odd, random, k, j):
    """As `_kahan`; which addend is larger is asked before subnormals are read as zeros."""
    sum_, correction = places[1], places[2]
    first = abs(total) >= abs(term)
    total, term = read(total, sum_, mode), read(term, places[0], mode)
    after = stored(added(total, term, mode, odd), sum_, mode, _at(random, k, j))
    large, small = (total, term) if first else (term, total)
    rest = added(large, -read(after, sum_, mode), mode, odd)
    rest = read(stored(rest, correction, mode, _at(random, k + 1, j)), correction, mode)
    rest = added(rest, small, mode, odd)
    rest = read(stored(rest, correction, mode, _at(random, k + 2, j)), correction, mode)
    lost = added(read(error, correction, mode), rest, mode, odd)
    return after, stored(lost, correction, mode, _at(random, k + 3, j))


@functools.cache
def loop(order: int, mode: int, fused: bool, odd: bool):
    """The loop for an order, a rounding mode, terms that are products as they are (`fused`) or
    rounded first, and sums that are made odd or need not be."""
    roundings = 1 if order == SEQUENTIAL else 4  # per term, but for the product's

    @kernel
    def run(a, b, c, error, places, work, random):
        columns = c.shape[1]
        at = work.first
        while at < work.last:
            i = at // columns
            left = at - i * columns
            right = min(columns, left + work.last - at)
            here = at - work.first
            total, lost = c[i, left:right], error[i, left:right]
            for k in range(work.k0, work.k1):
                x, y = a[i, k], b[k, left:right]
                step = (k - work.k0) * (roundings + (0 if fused else 1))
                for j in range(total.size):
                    term = (y[j] if work.square else x) * y[j]
                    n = step
                    if not fused:
                        term = stored(term, places[0], mode, _at(random, n, here + j))
                        n += 1
                        if order != NEUMAIER:
                            term = read(term, places[0], mode)
                    if order == SEQUENTIAL:
                        total[j] = _sequential(
                            term, total[j], places, mode, odd, random, n, here + j
                        )
                    elif order == KAHAN:
                        total[j], lost[j] = _kahan(
                            term, total[j], lost[j], places, mode, odd, random, n, here + j
                        )
                    else:
                        total[j], lost[j] = _neumaier(
                            term, total[j], lost[j], places, mode, odd, random, n, here + j
                        )
            at += right - left

    return run
