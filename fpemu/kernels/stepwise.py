"""Sums in which every step is rounded in any mode, each step to a format of its own, in float64.

A step's exact result has to be rounded once. Products of short operands are exact in float64. A sum
is made *odd* where the format, the mode or operands of other formats ask for it: its last bit tells
on which side of it the exact sum lies, so that rounding again to 51 bits or fewer cannot go wrong
(Boldo and Melquiond 2008).

`c`, and with it the result, is taken as a flat array, of which elements ``first`` to ``last - 1``
are computed from terms ``k0`` to ``k1 - 1``: stochastic rounding works tile by tile. `random` holds
its thresholds (see `philox.thresholds`), of shape (number of steps, elements), the steps of term k0
first; for other modes it is None.

With COUNTING in the mode `counts` receives what happened in products, sums and corrections (see
`counting`). That never changes a result.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import njit

from fpemu.kernels.bits import MAGNITUDE64, SIGN64, bits64, float64_of
from fpemu.kernels.cache import kernel
from fpemu.kernels.counting import MOST, NOTHING, Watch, noted, noted_sum, unpack
from fpemu.kernels.step import FLUSH, TOWARD_NEGATIVE, Target, wide

COUNTING = 64  # added to a mode


class Place(NamedTuple):
    """Where a step's result goes: its format, what subnormals are there, what is worth a note."""

    target: Target
    keep_from: float  # smaller results become zeros (ftz)
    read_from: float  # smaller values are read as zeros (daz)
    watch: Watch


class Work(NamedTuple):
    """Which elements of the result are computed, from which terms."""

    first: int
    last: int
    k0: int
    k1: int


@njit(forceinline=True)
def zero_below(x, least, minus_zero):
    """x, or a zero of its sign if it is smaller than `least`."""
    zero = np.int64(bits64(x) & SIGN64) if minus_zero else np.int64(0)
    return float64_of(zero) if abs(x) < least else x


@njit(forceinline=True)
def stored(x, place, mode, random, seen, invalid):
    """The one rounding in which every step ends; and what was `seen` by then, with this.

    `invalid` says that x is NaN though no operand was.
    """
    rounded = wide(x, place.target, mode & 7, random, None, None)
    if mode & FLUSH:
        rounded = zero_below(rounded, place.keep_from, place.target.minus_zero)
    if mode & COUNTING:
        seen = noted(seen, x, rounded, invalid, place.watch, random)
    return rounded, seen


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


@njit(forceinline=True)
def _sum(a, b, place, mode, odd, random, seen):
    """a + b as a value of the place."""
    total = added(a, b, mode, odd)
    invalid = (total != total) & (a == a) & (b == b)
    return stored(total, place, mode, random, seen, invalid)


@njit(forceinline=True)
def _main_sum(a, b, place, mode, odd, random, seen, bad):
    """The same for the additions of which a sum consists; `bad` says that b is NaN of what is none."""
    total = added(a, b, mode, odd)
    invalid = (total != total) & (((a == a) & (b == b)) | bad)
    after, seen = stored(total, place, mode, random, seen, invalid)
    if mode & COUNTING:
        seen = noted_sum(seen, a, b, total, after)
    return after, seen


SEQUENTIAL, KAHAN, NEUMAIER = range(3)


@njit(forceinline=True)
def _kahan(term, total, error, places, mode, odd, random, k, j, seen, aside):
    """The new total and correction, and what was seen; `k` is the number of the first threshold."""
    sum_, correction = places[1], places[2]
    before = read(total, sum_, mode)
    lost = -read(error, correction, mode)
    term, aside = _sum(term, lost, correction, mode, odd, _at(random, k, j), aside)
    term = read(term, correction, mode)
    after, seen = _main_sum(before, term, sum_, mode, odd, _at(random, k + 1, j), seen, False)
    kept = read(after, sum_, mode)
    gained, aside = _sum(kept, -before, correction, mode, odd, _at(random, k + 2, j), aside)
    gained = read(gained, correction, mode)
    rest, aside = _sum(gained, -term, correction, mode, odd, _at(random, k + 3, j), aside)
    return after, rest, seen, aside


@njit(forceinline=True)
def _neumaier(term, total, error, places, mode, odd, random, k, j, seen, aside):
    """As `_kahan`; which addend is larger is asked before subnormals are read as zeros."""
    sum_, correction = places[1], places[2]
    first = abs(total) >= abs(term)
    total, term = read(total, sum_, mode), read(term, places[0], mode)
    after, seen = _main_sum(total, term, sum_, mode, odd, _at(random, k, j), seen, False)
    large, small = (total, term) if first else (term, total)
    kept = -read(after, sum_, mode)
    rest, aside = _sum(large, kept, correction, mode, odd, _at(random, k + 1, j), aside)
    rest = read(rest, correction, mode)
    rest, aside = _sum(rest, small, correction, mode, odd, _at(random, k + 2, j), aside)
    rest = read(rest, correction, mode)
    lost = read(error, correction, mode)
    error, aside = _sum(lost, rest, correction, mode, odd, _at(random, k + 3, j), aside)
    return after, error, seen, aside


@functools.cache
def loop(order: int, mode: int, fused: bool, odd: bool, square: bool):
    """The loop for an order, a rounding mode, terms that are products as they are (`fused`) or
    rounded first, sums that are made odd (needed for counting, too) or need not be, and terms that
    are the squares of `b` or not."""
    roundings = 1 if order == SEQUENTIAL else 4  # per term, but for the product's

    @kernel
    def run(a, b, c, error, places, work, random, counts):
        columns = c.shape[1]
        at = work.first
        while at < work.last:
            i = at // columns
            left = at - i * columns
            right = min(columns, left + work.last - at)
            if mode & COUNTING:  # as many as the counters inside hold
                right = min(right, left + MOST)
            here = at - work.first
            total, lost = c[i, left:right], error[i, left:right]
            for k in range(work.k0, work.k1):
                x, y = a[i, k], b[k, left:right]
                step = (k - work.k0) * (roundings + (0 if fused else 1))
                products = sums = aside = NOTHING
                for j in range(total.size):
                    factor = y[j] if square else x
                    term = factor * y[j]
                    n = step
                    bad = (term != term) & (factor == factor) & (y[j] == y[j])
                    if not fused:
                        drawn = _at(random, n, here + j)
                        term, products = stored(term, places[0], mode, drawn, products, bad)
                        bad = False
                        n += 1
                        if order != NEUMAIER:
                            term = read(term, places[0], mode)
                    if order == SEQUENTIAL:
                        before = read(total[j], places[1], mode)
                        drawn = _at(random, n, here + j)
                        total[j], sums = _main_sum(
                            before, term, places[1], mode, odd, drawn, sums, bad
                        )
                    elif order == KAHAN:
                        total[j], lost[j], sums, aside = _kahan(
                            *(term, total[j], lost[j], places, mode, odd, random, n, here + j),
                            *(sums, aside),
                        )
                    else:
                        total[j], lost[j], sums, aside = _neumaier(
                            *(term, total[j], lost[j], places, mode, odd, random, n, here + j),
                            *(sums, aside),
                        )
                if mode & COUNTING:
                    unpack(products, counts[0], total.size, k)
                    unpack(sums, counts[1], total.size, k)
                    unpack(aside, counts[2], 3 * total.size, k)
            at += right - left

    return run
