"""Which carrier a format's values travel in, and what the kernels are told about the format."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any

import numpy as np

from fpemu import exact
from fpemu.errors import ArgumentError
from fpemu.formats import FP32, FP64, Format


@functools.cache
def carrier_dtype(f: Format) -> np.dtype:
    """The dtype in which values of `f` travel: float32 if it holds them all exactly, else float64;
    for the few formats that reach beyond that, object, holding floats and Fractions.

    >>> from fpemu.formats import BF16, FP64
    >>> carrier_dtype(BF16), carrier_dtype(FP64)
    (dtype('float32'), dtype('float64'))
    """
    if not f.fits_float64:
        return np.dtype(object)
    fits = f.precision <= 24 and f.emax <= 127 and f.emin - f.fraction_bits >= -149
    return np.dtype(np.float32 if fits else np.float64)


@functools.cache
def has_step32(f: Format) -> bool:
    """Whether the kernels can round a float32 to `f` without leaving float32."""
    return _is_narrow(f) or _is_masked(f)


@functools.cache
def has_step64(f: Format) -> bool:
    """Whether the kernels can round a float64 to `f` without leaving float64."""
    if f == FP64:
        return True
    # With all of float64's own bits there would be no carry to round by.
    return (
        f.precision < 53 and f.emax + 53 - f.precision < 1023 and f.emin - f.fraction_bits >= -1022
    )


def _is_narrow(f: Format) -> bool:
    # Well above float32's own subnormals, which have no hidden bit to reckon with.
    within = f.emin - f.fraction_bits >= -100 and f.emax + 24 - f.precision < 127
    return f.precision < 24 and within


def _is_masked(f: Format) -> bool:
    same_range = f.emin == FP32.emin and f.emax == FP32.emax and f.precision <= 24
    return same_range and f.has_inf and f.has_negative_zero


@functools.lru_cache(maxsize=512)
def target_of(
    f: Format,
    saturation: str,
    *,
    carrier: str,
    rounding: str = "nearest_even",
):
    """The kernels' description of rounding to `f` in a "float32" or "float64" carrier."""
    from fpemu.kernels import step

    if carrier == "float32":
        kind = step.MASKED if _is_masked(f) else step.NARROW
    else:
        kind = step.NATIVE64 if f == FP64 else step.WIDE
    edge = overflow_edge(f, rounding, negative=False)
    if carrier == "float32":
        edge = _up_to_float32(edge)
    # Numbers of the carrier's own width: a conversion inside a loop would halve its vectors.
    whole: Any = np.int32 if carrier == "float32" else int
    real: Any = np.float32 if carrier == "float32" else float
    return step.Target(
        kind=whole(kind),
        dropped=whole((24 if carrier == "float32" else 53) - f.precision),
        emin=whole(f.emin),
        emax=whole(f.emax),
        largest=real(f.max),
        overflow=real(exact.overflow_of(f, False, rounding, saturation)),
        overflow_negative=real(exact.overflow_of(f, True, rounding, saturation)),
        infinity=real(exact.infinity_of(f, saturation)),
        minus_zero=f.has_negative_zero,
        odd_field=whole(f._bias % 2),
        tiny=real(f.smallest_normal),
        overflows_from=real(edge),
        tiny_edge=normal_edge(f, rounding, negative=False),
    )


@functools.lru_cache(maxsize=512)
def roomy(f: Format) -> Format | None:
    """`f` with a wider range of exponents at both ends, or None where float64 has no room for it.

    Rounding to it is rounding with an unbounded exponent, which tells overflow and tininess. Codes
    have the same parity.
    """
    bias = f._bias + 4
    span = f.emax - f.emin + 10
    try:
        wide = Format(f"roomy {f.name}", span.bit_length(), f.fraction_bits, bias, "finite")
    except ArgumentError:
        return None
    return wide if has_step64(wide) else None


@functools.lru_cache(maxsize=512)
def overflow_edge(f: Format, rounding: str, *, negative: bool) -> float:
    """The smallest float64 magnitude that rounds beyond ``f.max``, exponents being unbounded."""
    last_place = Fraction(2) ** (f.emax - f.fraction_bits)
    largest, odd = Fraction(f.max), f.max_code % 2 == 1
    match rounding:
        case "nearest_even":
            edge, itself = largest + last_place / 2, odd  # the tie goes away from an odd code
        case "nearest_away":
            edge, itself = largest + last_place / 2, True
        case "to_odd":
            edge, itself = (largest + last_place, True) if odd else (largest, False)
        case _:
            outward = {"toward_positive": not negative, "toward_negative": negative}
            away = outward.get(rounding, False)
            edge, itself = (largest, False) if away else (largest + last_place, True)
    try:
        nearest = float(edge)
    except OverflowError:  # FP64 itself
        return math.inf
    return nearest if itself else math.nextafter(nearest, math.inf)


@functools.lru_cache(maxsize=512)
def normal_edge(f: Format, rounding: str, *, negative: bool) -> float:
    """The smallest float64 magnitude that an unbounded exponent rounds to the smallest normal."""
    normal = Fraction(f.smallest_normal)
    last_place = normal / 2 ** (f.fraction_bits + 1)  # below it, with an unbounded exponent
    # The number before it ends in ones; without a fraction its code is one less.
    odd = f.fraction_bits > 0 or f.first_normal_field == 0
    match rounding:
        case "nearest_even":
            edge, itself = normal - last_place / 2, odd
        case "nearest_away":
            edge, itself = normal - last_place / 2, True
        case "to_odd":
            edge, itself = (normal, True) if odd else (normal - last_place, False)
        case _:
            outward = {"toward_positive": not negative, "toward_negative": negative}
            away = outward.get(rounding, False)
            edge, itself = (normal - last_place, False) if away else (normal, True)
    nearest = float(edge)
    return nearest if itself else math.nextafter(nearest, math.inf)


def _up_to_float32(x: float) -> float:
    """The smallest float32 that is not below x."""
    with np.errstate(over="ignore"):
        nearest = np.float32(x)
        return float(nearest if float(nearest) >= x else np.nextafter(nearest, np.float32(np.inf)))


def code_dtype(f: Format) -> np.dtype:
    """The narrowest unsigned dtype for the codes of `f`.

    >>> from fpemu.formats import TF32
    >>> code_dtype(TF32)
    dtype('uint32')
    """
    return np.dtype(next(f"u{size}" for size in (1, 2, 4, 8) if f.bits <= 8 * size))
