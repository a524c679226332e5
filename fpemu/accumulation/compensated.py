"""Which of the fast loops for compensated sums is right, if any; see `kernels.compensated`."""

from __future__ import annotations

import numpy as np

from fpemu.accumulation import fast_loops, threads
from fpemu.accumulation.sequential import carrier_for
from fpemu.carriers import carrier_dtype, target_of
from fpemu.formats import FP16, FP32, FP64, Format


def run(
    order: str,
    a: np.ndarray,
    b: np.ndarray,
    start: np.ndarray,
    formats: tuple[Format, Format, Format],
    saturation: str,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Kahan's or Neumaier's sum of products and its correction, of shape (m, n), all in the format of
    the accumulator (the last of `formats`) and rounded to nearest even; or None."""
    f = formats[2]
    carrier = carrier_for(*formats, saturation)
    if not f.has_nan or carrier is None or not (carrier == "float32" or f == FP64):
        return None
    from fpemu.kernels import compensated, step

    # FP64's own operations need no target.
    target = target_of(f if carrier == "float32" else FP32, saturation, carrier="float32")
    kind = target.kind
    if f == FP64 or (f == FP32 and saturation == "none"):
        kind = compensated.NATIVE
    elif f == FP16 and saturation == "none" and fast_loops.has_half_conversion():
        kind = compensated.HALF
    elif kind not in (step.NARROW, step.MASKED):
        return None
    dtype = carrier_dtype(f)
    left, right = (np.ascontiguousarray(v, dtype) for v in (a, b))
    total = np.array(start, dtype, order="C")
    error = np.zeros_like(total)
    loop = compensated.loop(order == "neumaier", int(kind), f.has_negative_zero)
    threads.in_pieces(
        lambda i, j: loop(left[i:j], right, total[i:j], error[i:j], target),
        len(total),
        total.size * len(right),
    )
    # An infinity stays one or becomes NaN: without any at the end nothing has overflowed.
    unsaturated = kind == compensated.NATIVE and saturation != "none"
    if unsaturated and not (np.isfinite(total).all() and np.isfinite(error).all()):
        return None
    for values in (total, error):
        values[np.isnan(values)] = np.nan  # the one positive quiet NaN
    return total, error
