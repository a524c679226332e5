"""Values of a format to its codes and back, in float64, flat arrays."""

from __future__ import annotations

import numpy as np

from fpemu.kernels.bits import (
    EXPONENT64,
    MAGNITUDE64,
    bits64,
    float64_of,
)
from fpemu.kernels.cache import kernel

_HIDDEN = np.int64(1 << 52)


@kernel
def encode(x, layout, inf_code, nan_code, minus_zero, out):
    """Codes of float64 `x`, whose elements must already be values of the format."""
    exponent_bits, fraction_bits, bias, first_normal_field = layout
    sign_at = exponent_bits + fraction_bits
    spare = 52 - fraction_bits
    smallest_normal = np.int64(first_normal_field - bias + 1023) << 52
    for i in range(x.size):
        bits = bits64(x[i])
        magnitude = bits & MAGNITUDE64
        sign = np.int64(bits < 0) << sign_at
        field = magnitude >> 52
        normal = ((field - 1023 + bias) << fraction_bits) | ((magnitude & (_HIDDEN - 1)) >> spare)
        # Below the smallest normal the code counts smallest subnormals; float64's own
        # subnormals have no hidden bit and the exponent of field 1.
        hidden = _HIDDEN if field > 0 else np.int64(0)
        down = min(spare + (first_normal_field - bias + 1023) - max(field, 1), np.int64(63))
        subnormal = ((magnitude & (_HIDDEN - 1)) | hidden) >> down
        code = normal if magnitude >= smallest_normal and field > 0 else subnormal
        if magnitude == EXPONENT64:
            code = np.int64(inf_code)
        if code == 0 and not minus_zero:
            sign = np.int64(0)
        out[i] = nan_code if magnitude > EXPONENT64 else code | sign


@kernel
def decode(codes, layout, unit, max_code, inf_code, minus_zero, out):
    """Values of `codes` (each below ``2**bits``) as float64; `unit` is the smallest subnormal."""
    exponent_bits, fraction_bits, bias, first_normal_field = layout
    sign_at = exponent_bits + fraction_bits
    for i in range(codes.size):
        code = np.int64(codes[i])
        sign = (code >> sign_at) & 1
        magnitude = code & ((np.int64(1) << sign_at) - 1)
        field = magnitude >> fraction_bits
        fraction = magnitude & ((np.int64(1) << fraction_bits) - 1)
        if field >= first_normal_field:
            value = float64_of(
                np.int64(((field - bias + 1023) << 52) | (fraction << (52 - fraction_bits)))
            )
        else:
            value = fraction * unit
        if magnitude > max_code:
            value = np.inf if magnitude == inf_code else np.nan
        if sign == 1:
            if magnitude == 0 and not minus_zero:
                value = np.nan
            elif value == value:
                value = -value
        out[i] = value
