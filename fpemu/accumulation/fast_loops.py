"""Which of the fast inner loops is right for a product, if any; see `kernels.sequential`."""

from __future__ import annotations

import numpy as np

from fpemu.accumulation import threads
from fpemu.carriers import carrier_dtype, has_step32, target_of
from fpemu.formats import FP16, FP32, Format


def run(
    a: np.ndarray,
    b: np.ndarray,
    start: np.ndarray,
    formats: tuple[Format, Format, Format],
    saturation: str,
    carrier: str | None,
) -> np.ndarray | None:
    """``start + a @ b`` rounded step by step, or None if no fast loop is known to be right.

    `carrier` is what `sequential.carrier_for` says: "float32" means that products and sums computed
    in float32 may be rounded again.
    """
    f = formats[2]
    if carrier != "float32" and not (saturation == "none" and _products_stay_normal(a, b, formats)):
        return None
    from fpemu.kernels import processor, step
    from fpemu.kernels import sequential as loops

    left, right = (np.ascontiguousarray(v, np.float32) for v in (a, b))
    result = np.array(start, np.float32, order="C")
    target = target_of(f, saturation, carrier="float32")
    if f == FP32 and saturation == "none":
        threads.by_rows(lambda x, z: loops.native(x, right, z), left, result)
    elif f == FP16 and saturation == "none" and has_half_conversion():
        if processor.has("fma") and _products_fit(left, right, f) and _no_minus_zero(result):
            scale = np.float32(1.5 * 2.0**target.dropped)
            threads.by_rows(
                lambda x, z: loops.half_sums(x, right, z, target.tiny, scale), left, result
            )
        else:
            threads.by_rows(lambda x, z: loops.half(x, right, z), left, result)
    elif target.kind == step.MASKED and f != FP32 and saturation == "none":
        threads.by_rows(lambda x, z: loops.masked(x, right, z, target.dropped), left, result)
    elif target.kind == step.NARROW and processor.has("fma") and _is_plain(left, right, result):
        scale = np.float32(1.5 * 2.0**target.dropped)
        seen = threads.by_rows(
            lambda x, z: loops.magic(x, right, z, target.tiny, scale), left, result
        )
        if max(seen) > target.largest.view(np.int32):  # type: ignore[type-var, operator]
            return None  # something overflowed: the general loop knows what becomes of it
    else:
        return None
    nan = np.isnan(result)
    if nan.any():
        result[nan] = np.nan  # the one positive quiet NaN
    return result


def _products_stay_normal(a: np.ndarray, b: np.ndarray, formats) -> bool:
    """For formats with float32's exponents (TF32): whether no product of these operands is so small
    that float32 would round it before the format does."""
    fa, fb, f = formats
    short = fa.precision + fb.precision <= 24 and 2 * f.precision + 2 <= 24
    carried = all(carrier_dtype(g) == np.float32 and has_step32(g) for g in formats)
    if not (short and carried and f.emin == FP32.emin and f.has_inf and f.fraction_bits > 0):
        return False
    return _smallest(a) * _smallest(b) >= 2.0**-126


def _smallest(x: np.ndarray) -> float:
    size = np.abs(x, dtype=np.float32)
    return float(np.min(size, initial=np.inf, where=size > 0))


def _is_plain(left: np.ndarray, right: np.ndarray, start: np.ndarray) -> bool:
    """Whether all is finite, and no sum starts at -0, which the loop takes for +0."""
    finite = all(bool(np.isfinite(v).all()) for v in (left, right, start))
    return finite and _no_minus_zero(start)


def _no_minus_zero(start: np.ndarray) -> bool:
    return not bool(np.any(np.signbit(start) & (start == 0)))


def _products_fit(left: np.ndarray, right: np.ndarray, f: Format) -> bool:
    """Whether no product of these operands can be too large for `f`, let alone infinite or NaN."""
    from fpemu.kernels import sequential as loops

    bits = [loops.largest_bits(v.reshape(-1)) for v in (left, right)]
    a, b = np.array(bits, np.int32).view(np.float32).astype(np.float64).tolist()
    return a * b <= f.max  # infinities and NaN are not


def has_half_conversion() -> bool:
    """Whether the processor converts to half precision by itself (F16C)."""
    from fpemu.kernels import processor

    return processor.has("f16c")
