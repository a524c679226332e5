"""The rounding step: every result of every kernel ends in one of these functions.

Each rounds once and differs from the others only in the carrier and in the trick that is right
for it. `Target` describes the result's format in plain numbers; `mode` is a constant at compile
time, so that a loop holds the code of one mode only, without a branch.

* `narrow`: float32 carrier, for formats whose exponent range is well inside float32's. Adding
  and subtracting 2**(e + dropped), where e is the operand's exponent clamped to the format's
  range, makes the processor's own addition round at the format's last place, subnormals
  included: nearest-even at once, and the value below (towards zero) for the other modes.
* `masked`: float32 carrier, for formats with float32's own exponent range (FP32, BF16, TF32):
  their numbers, subnormals included, are float32's with low bits cut off, so that the rest is
  what a mask leaves, and adding a last place carries into the exponent by itself.
* `wide`: float64 carrier, the trick of `narrow` for every format inside float64's range.

The modes other than nearest-even meet in one boolean, `away`: as in `exact.rounds_away`, the
specification. Overflow is decided after rounding, from the rounded magnitude. NaN results are
always the positive quiet NaN, so that the same bits come out on every processor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from fpemu.kernels.bits import (
    EXPONENT32,
    EXPONENT64,
    MAGNITUDE32,
    MAGNITUDE64,
    NAN32,
    NAN64,
    SIGN32,
    SIGN64,
    bits32,
    bits64,
    float32_of,
    float64_of,
)

NARROW, MASKED, WIDE, NATIVE64 = range(4)
NEAREST_EVEN, NEAREST_AWAY, TOWARD_ZERO, TOWARD_POSITIVE, TOWARD_NEGATIVE, TO_ODD = range(6)
# Nearest-even for formats without a stored fraction, where the code's last bit is the exponent's.
NEAREST_EVEN_CODE, STOCHASTIC = 6, 7
# Added to a mode: results below the smallest normal become zero.
FLUSH = 8
MODES = (*range(7), *range(8, 15))  # the deterministic ones


class Target(NamedTuple):
    """A format and its overflow and underflow rules as a rounding step needs them."""

    kind: int  # which step: NARROW, MASKED, WIDE or NATIVE64
    dropped: int  # bits of the carrier's significand that the format does not have
    emin: int  # exponent of the smallest normal
    emax: int  # exponent of the largest value
    largest: float  # largest finite magnitude
    overflow: float  # magnitude of a positive finite value that rounds beyond it
    overflow_negative: float  # the same of a negative one
    infinity: float  # magnitude of an infinite operand
    minus_zero: bool  # whether the format keeps the sign of zero
    odd_field: int  # parity of the exponent field of 1.0, for formats without a stored fraction
    tiny: float  # smallest normal
    overflows_from: float  # smallest finite magnitude that rounds beyond `largest`; for counting
    tiny_edge: float  # smallest that an unbounded exponent would round to `tiny`; for counting


@njit
def away(rest, half, odd, negative, mode):
    """Whether to go to the neighbour farther from zero; `rest` of a last place lies beyond the nearer."""
    mode = mode & 7
    if mode == NEAREST_EVEN or mode == NEAREST_EVEN_CODE:
        return (rest > half) | ((rest == half) & odd)
    if mode == NEAREST_AWAY:
        return (rest >= half) & (rest > 0)
    if mode == TOWARD_ZERO:
        return False
    if mode == TOWARD_POSITIVE:
        return (rest > 0) & (not negative)
    if mode == TOWARD_NEGATIVE:
        return (rest > 0) & negative
    return (rest > 0) & (not odd)  # TO_ODD


@njit
def away_by_chance(fraction, random, random_bits, variant):
    """Stochastic rounding: away for a `fraction` of a last place (float64) and N random bits?

    With k = 2**N - random, variants A, B and C of IEEE P3109 ask whether fraction * 2**N, rounded
    down (A), to nearest with ties up (B) or with ties to even (C), reaches k. All in uint64: for
    N = 64 and random = 0, k wraps to 0, and is not reached, but k - 1 is meant.
    """
    one = np.uint64(1)
    scaled = fraction * 2.0**random_bits
    down = np.floor(scaled)
    whole, part = np.uint64(down), scaled - down
    top = np.uint64(0) if random_bits == 64 else one << np.uint64(random_bits)
    k = np.uint64(top - random)
    reached = (whole >= k) & (random != 0)
    just_below = whole == np.uint64(k - one)
    if variant == 1:
        return reached | (just_below & (part >= 0.5))
    if variant == 2:
        tie = (part == 0.5) & (np.uint64(k & one) == np.uint64(0))
        return reached | (just_below & ((part > 0.5) | tie))
    return reached


@njit
def _signed32(result, sign, target):
    """Put the sign back, except on NaN and on the zero of a format without minus zero."""
    keep = (result <= EXPONENT32) & ((result != np.int32(0)) | target.minus_zero)
    return float32_of(np.int32(result | (sign if keep else np.int32(0))))


@njit
def _special32(magnitude, negative, target, mode):
    """The magnitude's bits for an operand that did not fit: overflow, infinity or NaN."""
    overflow = bits32(np.float32(target.overflow))
    if mode & 7 != NEAREST_EVEN:
        overflow = bits32(np.float32(target.overflow_negative)) if negative else overflow
    beyond = overflow if magnitude < EXPONENT32 else bits32(np.float32(target.infinity))
    return np.int32(beyond if magnitude <= EXPONENT32 else NAN32)


@njit
def narrow(x, target, mode, chance):
    """`chance`, for stochastic rounding: the fraction of a last place from which to go away."""
    bits = bits32(x)
    negative = bits < np.int32(0)
    magnitude = np.int32(bits & MAGNITUDE32)
    low = np.int32((target.emin + 127) << 23)
    high = np.int32((target.emax + 127) << 23)
    e = np.int32(magnitude & EXPONENT32)
    e = np.int32(min(np.int32(max(e, low)), high))
    magic = float32_of(np.int32(e + np.int32(target.dropped << 23)))
    exact = float32_of(magnitude)
    rounded = (exact + magic) - magic
    if mode & 7 != NEAREST_EVEN:
        unit = float32_of(np.int32(e - np.int32((23 - target.dropped) << 23)))
        below = rounded - (unit if rounded > exact else np.float32(0))
        if mode & 7 == NEAREST_EVEN_CODE or mode & 7 == TO_ODD:
            field = np.int32(np.int32(e >> 23) + np.int32(target.odd_field + 1))
            code = bits32(below + magic) if target.dropped < 23 else field
            odd = (np.int32(code & np.int32(1)) != np.int32(0)) & (below > 0)
        else:
            odd = False
        if mode & 7 == STOCHASTIC:
            inverse = float32_of(np.int32(np.int32(254 << 23) - bits32(unit)))
            up = (exact - below) * inverse >= chance
        else:
            up = away(exact - below, np.float32(0.5) * unit, odd, negative, mode)
        rounded = below + (unit if up else np.float32(0))
    fits = rounded <= np.float32(target.largest)
    if mode & FLUSH:
        rounded = rounded if rounded >= np.float32(target.tiny) else np.float32(0)
    result = bits32(rounded) if fits else _special32(magnitude, negative, target, mode)
    return _signed32(result, np.int32(bits & SIGN32), target)


@njit
def masked(x, target, mode, chance):
    bits = bits32(x)
    negative = bits < np.int32(0)
    magnitude = np.int32(bits & MAGNITUDE32)
    last = np.int32(np.int32(1) << target.dropped)
    odd = np.int32(np.int32(magnitude >> target.dropped) & np.int32(1))
    if mode & 7 == NEAREST_EVEN:
        half = np.int32((last >> 1) - 1) if target.dropped > 0 else np.int32(0)
        odd = odd if target.dropped > 0 else np.int32(0)
        rounded = np.int32(np.int32(magnitude + np.int32(half + odd)) & np.int32(-last))
    else:
        rest = np.int32(magnitude & np.int32(last - 1))
        if mode & 7 == STOCHASTIC:
            up = np.float32(rest) >= chance * np.float32(last)
        else:
            up = away(rest, np.int32(last >> 1), odd != np.int32(0), negative, mode)
        rounded = np.int32(np.int32(magnitude - rest) + (last if up else np.int32(0)))
    # NaN and infinity come first: adding to a NaN's bits could wrap into the sign.
    fits = (magnitude < EXPONENT32) & (rounded <= bits32(np.float32(target.largest)))
    if mode & FLUSH:
        rounded = rounded if rounded >= bits32(np.float32(target.tiny)) else np.int32(0)
    result = rounded if fits else _special32(magnitude, negative, target, mode)
    return _signed32(result, np.int32(bits & SIGN32), target)


@njit
def wide(x, target, mode, random, random_bits, variant):
    bits = bits64(x)
    negative = bits < np.int64(0)
    magnitude = np.int64(bits & MAGNITUDE64)
    low = np.int64(np.int64(target.emin + 1023) << 52)
    high = np.int64(np.int64(target.emax + 1023) << 52)
    e = min(max(np.int64(magnitude & EXPONENT64), low), high)
    magic = float64_of(np.int64(e + (np.int64(target.dropped) << 52)))
    exact = float64_of(magnitude)
    rounded = (exact + magic) - magic
    if mode & 7 != NEAREST_EVEN:
        unit = float64_of(np.int64(e - (np.int64(52 - target.dropped) << 52)))
        below = rounded - (unit if rounded > exact else 0.0)
        if mode & 7 == NEAREST_EVEN_CODE or mode & 7 == TO_ODD:
            field = (e >> 52) + target.odd_field + 1
            code = bits64(below + magic) if target.dropped < 52 else field
            odd = ((code & 1) != 0) & (below > 0)
        else:
            odd = False
        if mode & 7 == STOCHASTIC:
            inverse = float64_of(np.int64((np.int64(2046) << 52) - bits64(unit)))
            up = away_by_chance((exact - below) * inverse, random, random_bits, variant)
        else:
            up = away(exact - below, 0.5 * unit, odd, negative, mode)
        rounded = below + (unit if up else 0.0)
    fits = rounded <= target.largest
    if mode & FLUSH:
        rounded = rounded if rounded >= target.tiny else 0.0
    overflow = target.overflow
    if mode & 7 != NEAREST_EVEN:
        overflow = target.overflow_negative if negative else overflow
    beyond = overflow if magnitude < EXPONENT64 else target.infinity
    special = bits64(beyond) if magnitude <= EXPONENT64 else NAN64
    result = bits64(rounded) if fits else special
    keep = (result <= EXPONENT64) & ((result != 0) | target.minus_zero)
    return float64_of(np.int64(result | (np.int64(bits & SIGN64) if keep else np.int64(0))))


@njit
def native64(x, target, mode):
    """FP64 itself: nothing is dropped in any mode; the rules for infinity and NaN still hold."""
    bits = bits64(x)
    magnitude = np.int64(bits & MAGNITUDE64)
    special = bits64(target.infinity) if magnitude == EXPONENT64 else NAN64
    kept = magnitude
    if mode & FLUSH:
        kept = magnitude if magnitude >= bits64(target.tiny) else np.int64(0)
    result = kept if magnitude < EXPONENT64 else special
    keep = result <= EXPONENT64
    return float64_of(np.int64(result | (np.int64(bits & SIGN64) if keep else np.int64(0))))
