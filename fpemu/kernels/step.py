"""The rounding step: every result of every kernel ends in one of these functions.

All round to nearest, ties to even, once, and differ only in the carrier and in the trick that
is right for it. `Target` describes the result's format in plain numbers.

* `narrow`: float32 carrier, for formats whose exponent range is well inside float32's. Adding
  and subtracting 2**(e + dropped), where e is the operand's exponent clamped to the format's
  range, makes the processor's own addition round at the format's last place: one rounding,
  subnormals included, no branch.
* `masked`: float32 carrier, for formats with float32's own exponent range (FP32, BF16, TF32):
  their numbers, subnormals included, are float32's with low bits cut off, so an integer
  addition of half a last place and a mask round in place and carry into the exponent.
* `wide`: float64 carrier, the trick of `narrow` for every format inside float64's range.

Overflow is decided after rounding, from the rounded magnitude. NaN results are always the
positive quiet NaN, so that the same bits come out on every processor.
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


class Target(NamedTuple):
    """A format and its overflow rule as a rounding step needs them."""

    kind: int  # which step: NARROW, MASKED, WIDE or NATIVE64
    dropped: int  # bits of the carrier's significand that the format does not have
    emin: int  # exponent of the smallest normal
    emax: int  # exponent of the largest value
    largest: float  # largest finite magnitude
    overflow: float  # magnitude of a finite value that rounds beyond it
    infinity: float  # magnitude of an infinite operand
    minus_zero: bool  # whether the format keeps the sign of zero
    tiny: float  # smallest normal; for counting only
    overflows_from: float  # smallest finite magnitude that rounds beyond `largest`; likewise


@njit
def _signed32(result, sign, target):
    """Put the sign back, except on NaN and on the zero of a format without minus zero."""
    keep = (result <= EXPONENT32) & ((result != np.int32(0)) | target.minus_zero)
    return float32_of(np.int32(result | (sign if keep else np.int32(0))))


@njit
def _special32(magnitude, target):
    """The magnitude's bits for an operand that did not fit: overflow, infinity or NaN."""
    overflow = bits32(np.float32(target.overflow))
    infinity = bits32(np.float32(target.infinity))
    beyond = overflow if magnitude < EXPONENT32 else infinity
    return np.int32(beyond if magnitude <= EXPONENT32 else NAN32)


@njit
def narrow(x, target):
    bits = bits32(x)
    magnitude = np.int32(bits & MAGNITUDE32)
    low = np.int32((target.emin + 127) << 23)
    high = np.int32((target.emax + 127) << 23)
    e = np.int32(magnitude & EXPONENT32)
    e = np.int32(min(np.int32(max(e, low)), high))
    magic = float32_of(np.int32(e + np.int32(target.dropped << 23)))
    rounded = (float32_of(magnitude) + magic) - magic
    fits = rounded <= np.float32(target.largest)
    result = bits32(rounded) if fits else _special32(magnitude, target)
    return _signed32(result, np.int32(bits & SIGN32), target)


@njit
def masked(x, target):
    bits = bits32(x)
    magnitude = np.int32(bits & MAGNITUDE32)
    last = np.int32(np.int32(1) << target.dropped)
    odd = np.int32(np.int32(magnitude >> target.dropped) & np.int32(1))
    half = np.int32((last >> 1) - 1) if target.dropped > 0 else np.int32(0)
    odd = odd if target.dropped > 0 else np.int32(0)
    rounded = np.int32(np.int32(magnitude + np.int32(half + odd)) & np.int32(-last))
    # NaN and infinity come first: adding to a NaN's bits could wrap into the sign.
    fits = (magnitude < EXPONENT32) & (rounded <= bits32(np.float32(target.largest)))
    result = rounded if fits else _special32(magnitude, target)
    return _signed32(result, np.int32(bits & SIGN32), target)


@njit
def wide(x, target):
    bits = bits64(x)
    magnitude = np.int64(bits & MAGNITUDE64)
    low = np.int64(np.int64(target.emin + 1023) << 52)
    high = np.int64(np.int64(target.emax + 1023) << 52)
    e = min(max(np.int64(magnitude & EXPONENT64), low), high)
    magic = float64_of(np.int64(e + (np.int64(target.dropped) << 52)))
    rounded = (float64_of(magnitude) + magic) - magic
    fits = rounded <= target.largest
    beyond = target.overflow if magnitude < EXPONENT64 else target.infinity
    special = bits64(beyond) if magnitude <= EXPONENT64 else NAN64
    result = bits64(rounded) if fits else special
    keep = (result <= EXPONENT64) & ((result != 0) | target.minus_zero)
    return float64_of(np.int64(result | (np.int64(bits & SIGN64) if keep else np.int64(0))))


@njit
def native64(x, target):
    """FP64 itself: nothing is dropped, but overflow rules and the one NaN still hold."""
    bits = bits64(x)
    magnitude = np.int64(bits & MAGNITUDE64)
    special = bits64(target.infinity) if magnitude == EXPONENT64 else NAN64
    result = magnitude if magnitude < EXPONENT64 else special
    keep = result <= EXPONENT64
    return float64_of(np.int64(result | (np.int64(bits & SIGN64) if keep else np.int64(0))))
