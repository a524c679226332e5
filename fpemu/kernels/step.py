"""The rounding step: every result of every kernel ends in one of these functions.

Each rounds once and differs from the others only in the carrier and in the trick that is right
for it. `Target` describes the result's format in plain numbers; `mode` is a constant at compile
time, so that a loop holds the code of one mode only, without a branch.

* `narrow`: float32 carrier, for formats whose exponent range is well inside float32's. Adding
  and subtracting 2**(e + dropped), where e is the operand's exponent clamped to the format's
  range, makes the processor's own addition round to nearest even at the format's last place,
  subnormals included. The other modes add to the bits what carries into the last place.
* `masked`: float32 carrier, for formats with float32's own exponent range (FP32, BF16, TF32):
  their numbers, subnormals included, are float32's with low bits cut off, so that one addition
  to the bits and one mask round, and a carry goes into the exponent by itself.
* `wide`: float64 carrier, the addition of `narrow` for every format inside float64's range, and
  from its result and its error the other modes, which meet in one boolean, `away`, as in
  `exact.rounds_away`, the specification.

Overflow is decided after rounding, from the rounded magnitude. NaN results are
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
    left32,
    right32,
)

NARROW, MASKED, WIDE, NATIVE64 = range(4)
NEAREST_EVEN, NEAREST_AWAY, TOWARD_ZERO, TOWARD_POSITIVE, TOWARD_NEGATIVE, TO_ODD = range(6)
# Nearest-even for formats without a stored fraction, where the code's last bit is the exponent's.
NEAREST_EVEN_CODE, STOCHASTIC = 6, 7
# Added to a mode: results below the smallest normal become zero.
FLUSH = 8
# Added to a mode, for float32 carriers: what is known of overflow, so that less has to be done.
ALIKE = 0  # it gives what an infinity gives
CLAMPED = 16  # it gives the largest value of its sign
OUTWARD = 32  # a directed mode: outward what an infinity gives, inward the largest value
GENERAL = 48  # nothing is known


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
def _signed32(rounded, bits, target, mode, minus_zero):
    """The result's bits: the sign put back, and what did not fit replaced, by overflow, infinity
    or NaN. `minus_zero` is a constant at compile time."""
    sign = np.int32(bits & SIGN32)
    magnitude = np.int32(bits & MAGNITUDE32)
    largest = np.uint32(bits32(target.largest))
    # Unsigned, because adding to a NaN's bits may have carried into the sign.
    unsigned = np.uint32(rounded)
    if mode & 48 == CLAMPED:
        unsigned = min(unsigned, largest)
    elif mode & 48 == OUTWARD:
        inward = (bits < np.int32(0)) == (mode & 7 == TOWARD_POSITIVE)
        unsigned = min(unsigned, largest) if inward else unsigned
    rounded = np.int32(unsigned)
    if minus_zero:
        result = np.int32(rounded | sign)
    else:
        result = np.int32(rounded | (sign if rounded != np.int32(0) else np.int32(0)))
    beyond = _with_sign(target.infinity, bits)
    if mode & 48 == GENERAL:
        overflow = _with_sign(target.overflow, bits)
        if mode & 7 == TOWARD_POSITIVE or mode & 7 == TOWARD_NEGATIVE:
            negative = _with_sign(target.overflow_negative, bits)
            overflow = negative if bits < np.int32(0) else overflow
        beyond = overflow if magnitude < EXPONENT32 else beyond
    beyond = beyond if magnitude <= EXPONENT32 else NAN32
    if mode & 48 == CLAMPED:
        fits = magnitude < EXPONENT32
    elif mode & 48 == OUTWARD:
        fits = (unsigned <= largest) & (magnitude < EXPONENT32)
    else:
        fits = unsigned <= largest
    return float32_of(np.int32(result if fits else beyond))


@njit
def _with_sign(magnitude, bits):
    """Bits of a magnitude with the sign of `bits`; NaN stays positive."""
    kept = SIGN32 if magnitude == magnitude else np.int32(0)
    return np.int32(bits32(magnitude) | np.int32(bits & kept))


@njit
def narrow(x, target, mode, random, minus_zero):
    """`random`, for stochastic rounding: 24 random bits, the first ones the most significant."""
    bits = bits32(x)
    magnitude = np.int32(bits & MAGNITUDE32)
    if mode & 7 == NEAREST_EVEN:
        rounded = bits32(_nearest_even(magnitude, target))
    else:
        rounded = _cut(bits, target, mode, random)
    if mode & FLUSH:
        large = np.uint32(rounded) >= np.uint32(bits32(target.tiny))
        rounded = rounded if large else np.int32(0)
    return _signed32(rounded, bits, target, mode, minus_zero)


@njit
def _nearest_even(magnitude, target):
    """By the processor's own addition."""
    low = np.int32((target.emin + 127) << 23)
    high = np.int32((target.emax + 127) << 23)
    e = np.int32(magnitude & EXPONENT32)
    e = np.int32(min(np.int32(max(e, low)), high))
    magic = float32_of(np.int32(e + np.int32(target.dropped << 23)))
    return (float32_of(magnitude) + magic) - magic


@njit
def _cut(bits, target, mode, random):
    """By adding to the bits, for the other modes: what is dropped then carries, or not.

    `shift` low bits are dropped: more of them, the farther below the smallest normal. From 24 on,
    which is below the smallest subnormal, the hidden leading 1 is among them and the result is
    that subnormal or zero.
    """
    magnitude = np.int32(bits & MAGNITUDE32)
    e = right32(magnitude, np.int32(23))
    above_all = np.int32(target.emin + 127 + target.dropped)  # shift = this - e below the normals
    shift = np.int32(max(np.int32(above_all - e), target.dropped))
    inside = np.int32(min(shift, np.int32(23)))
    mask = left32(np.int32(-1), inside)
    smallest = np.int32((target.emin - 23 + target.dropped + 127) << 23)
    half = np.int32(smallest - np.int32(1 << 23))
    tiny = magnitude < smallest
    if mode & 7 == TOWARD_POSITIVE or mode & 7 == TOWARD_NEGATIVE:
        # Numbers below the smallest subnormal start as that, or end as zero.
        lifted = np.int32(np.int32(max(magnitude, smallest)) + np.int32(~mask))
        rounded = np.int32((lifted if _away_from_zero(bits, mode) else magnitude) & mask)
        # Unsigned, because a NaN may have carried into the sign: it must not become a zero.
        return rounded if np.uint32(rounded) >= np.uint32(smallest) else np.int32(0)
    if mode & 7 == TOWARD_ZERO:
        return np.int32(0) if tiny else np.int32(magnitude & mask)
    last = np.int32(-mask)
    if mode & 7 == NEAREST_AWAY:
        rounded = np.int32(np.int32(magnitude + right32(last, np.int32(1))) & mask)
        return (smallest if magnitude >= half else np.int32(0)) if tiny else rounded
    if mode & 7 == STOCHASTIC:
        significand = np.int32((magnitude & np.int32(0x7FFFFF)) | np.int32(0x800000))
        beyond = np.int32(min(np.int32(max(np.int32(shift - 24), np.int32(0))), np.int32(31)))
        up = np.int32(right32(significand, beyond) + random) >= np.int32(1 << 24)
        rounded = np.int32(np.int32(magnitude + _random_below_last(random, inside)) & mask)
        return (smallest if up else np.int32(0)) if tiny else rounded
    # The parity decides. Without a stored fraction it is that of the exponent's code; in the
    # binade of the smallest subnormal the last place is the hidden 1, which is odd.
    rounded = np.int32(magnitude & mask)
    inexact = rounded != magnitude
    odd_code = np.int32(np.int32(e + target.odd_field + np.int32(1)) & np.int32(1))
    if mode & 7 == TO_ODD:
        if target.dropped < 23:
            rounded = np.int32(rounded | (last & np.int32(0x7FFFFF) if inexact else np.int32(0)))
        else:
            go = inexact & (odd_code == np.int32(0))
            rounded = np.int32(rounded + (last if go else np.int32(0)))
        return (smallest if magnitude > np.int32(0) else np.int32(0)) if tiny else rounded
    # NEAREST_EVEN_CODE
    less_than_half = np.int32(right32(last, np.int32(1)) - np.int32(1))
    rounded = np.int32(np.int32(magnitude + np.int32(less_than_half + odd_code)) & mask)
    return (smallest if magnitude > half else np.int32(0)) if tiny else rounded


@njit
def _away_from_zero(bits, mode):
    """Whether a directed mode takes a nonzero number of this sign away from zero."""
    if mode & 7 == TOWARD_POSITIVE:
        return bits > np.int32(0)
    return np.uint32(bits) > np.uint32(0x80000000)


@njit
def _random_below_last(random, shift):
    """The first `shift` of 24 random bits, in place: with the part dropped they carry into the last
    place with the probability of that part, cut to the bits that there are (variant A)."""
    return right32(random, np.int32(max(np.int32(np.int32(24) - shift), np.int32(0))))


@njit
def masked(x, target, mode, random):
    """`random` as in `narrow`."""
    bits = bits32(x)
    magnitude = np.int32(bits & MAGNITUDE32)
    mask = left32(np.int32(-1), target.dropped)
    most = np.int32(~mask)
    up = np.int32(0)
    if mode & 7 == STOCHASTIC:
        up = _random_below_last(random, target.dropped)
    elif mode & 7 == TO_ODD or mode & 7 == NEAREST_EVEN:
        odd = np.int32(right32(magnitude, target.dropped) & np.int32(1))
        if mode & 7 == TO_ODD:  # carries wherever something is dropped from an even one
            up = np.int32(0) if odd != np.int32(0) else most
        elif target.dropped > 0:
            up = np.int32(right32(most, np.int32(1)) + odd)
    elif mode & 7 == NEAREST_AWAY:
        up = right32(np.int32(-mask), np.int32(1))
    elif mode & 7 != TOWARD_ZERO:
        up = most if _away_from_zero(bits, mode) else np.int32(0)
    # An infinity must not be taken for an overflow, nor a NaN for a number.
    rounded = np.int32(np.int32(magnitude + up) & mask)
    rounded = rounded if magnitude < EXPONENT32 else MAGNITUDE32
    if mode & FLUSH:
        rounded = rounded if rounded >= bits32(target.tiny) else np.int32(0)
    return _signed32(rounded, bits, target, mode, True)


@njit
def wide(x, target, mode, random, random_bits, variant):
    """`random`, for stochastic rounding: that many random bits; or, if `random_bits` is None, a
    threshold, 1 less the random number as a fraction: what reaches it goes away (variant A)."""
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
            if random_bits is None:
                up = exact - below >= random * unit
            else:
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
