"""What happens in the roundings of a sum, counted without leaving the vector registers.

The counters of a row of at most `MOST` elements are packed into two int64, 12 bits each, which a
loop can add up as it adds anything else; a third one holds the largest number of bits cancelled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from fpemu.kernels.bits import EXPONENT64, bits64

# Places in an array of counts.
VALUES, NONZERO, INEXACT, UNDERFLOW, ZEROED, SUBNORMAL, OVERFLOW, SWAMPED, INVALID = range(9)
CANCELLED, FIRST_OVERFLOW, BITS_CANCELLED = range(9, 12)
EVENTS = 12
# Those that are called in an array as they are in `fpemu.events`.
NAMES = ("values", "nonzero", "inexact", "underflow", "subnormal", "overflow", "swamped")
NAMES += ("invalid", "cancelled")  # type: ignore[assignment]
MOST = 512  # of which each is counted up to 4 times

_ZERO = np.int64(0)
NOTHING = (_ZERO, _ZERO, _ZERO)


def nothing() -> np.ndarray:
    """Arrays of counts, all zero, for products, sums and corrections."""
    counts = np.zeros((3, EVENTS), np.int64)
    counts[:, FIRST_OVERFLOW] = -1
    return counts


class Watch(NamedTuple):
    """Where overflow and tininess begin in a format: for each sign, and with random rounding by how
    much later, times the threshold."""

    over: float
    over_negative: float
    over_slope: float
    tiny: float
    tiny_negative: float
    tiny_slope: float
    normal: float  # the smallest one


@njit(forceinline=True)
def noted(seen, x, rounded, invalid, watch, random):
    """`seen`, and that x, exact or odd, became `rounded`. NaN signals nothing but `invalid`."""
    size, inf = abs(x), np.inf
    finite = (size < inf) & (size > 0.0)
    over = (watch.over_negative if x < 0.0 else watch.over) + random * watch.over_slope
    tiny = (watch.tiny_negative if x < 0.0 else watch.tiny) + random * watch.tiny_slope
    overflow = finite & (size >= over)
    changed = finite & ((rounded != x) | overflow)
    infinite, missing = size == inf, rounded != rounded
    inexact = changed | (infinite & (rounded != x) & ~missing)
    underflow = changed & (size < tiny)
    small = finite & (abs(rounded) < watch.normal)
    zeroed, subnormal = small & (rounded == 0.0), small & (rounded != 0.0)
    bad = invalid | (infinite & missing)
    first = np.int64(x != 0.0) + (np.int64(inexact) << 12) + (np.int64(underflow) << 24)
    first += (np.int64(zeroed) << 36) + (np.int64(subnormal) << 48)
    second = np.int64(overflow) + (np.int64(bad) << 12)
    return np.int64(seen[0] + first), np.int64(seen[1] + second), seen[2]


@njit(forceinline=True)
def noted_sum(seen, a, b, total, after):
    """`seen`, and that a + b was `total`, exact or odd, and became `after`."""
    swamped = (abs(a) < np.inf) & (abs(b) < np.inf) & (b != 0.0) & (after == a)
    gone = cancelled_bits(a, b, total)
    second = (np.int64(swamped) << 24) + (np.int64(gone > np.int64(0)) << 36)
    gone = gone if total != 0.0 else np.int64(0)
    return seen[0], np.int64(seen[1] + second), max(seen[2], gone)


@njit(forceinline=True)
def cancelled_bits(a, b, total):
    """How many leading bits the sum lost, times 2**52 or somewhat more; 0 if less than two, as one
    goes in ordinary differences like 8 - 1. All bits are gone if the sum is zero."""
    both = (abs(a) < np.inf) & (abs(b) < np.inf) & (a != 0.0) & (b != 0.0)
    larger = a if abs(a) > abs(b) else b
    gone = np.int64((bits64(larger) & EXPONENT64) - (bits64(total) & EXPONENT64))
    return gone if both & (gone > np.int64(1 << 52)) else np.int64(0)


@njit
def unpack(seen, counts, values, k):
    """Add what was seen of `values` roundings in term k."""
    first, second, gone = seen
    field = np.int64(0xFFF)
    counts[VALUES] += values
    counts[NONZERO] += first & field
    counts[INEXACT] += (first >> 12) & field
    counts[UNDERFLOW] += (first >> 24) & field
    counts[ZEROED] += (first >> 36) & field
    counts[SUBNORMAL] += (first >> 48) & field
    counts[OVERFLOW] += second & field
    counts[INVALID] += (second >> 12) & field
    counts[SWAMPED] += (second >> 24) & field
    counts[CANCELLED] += (second >> 36) & field
    counts[BITS_CANCELLED] = max(counts[BITS_CANCELLED], gone >> 52)
    if second & field and (counts[FIRST_OVERFLOW] < 0 or k < counts[FIRST_OVERFLOW]):
        counts[FIRST_OVERFLOW] = k
