"""Products and partial sums rounded in sequential order: the kernels, and when they are right.

Each product is rounded to the accumulator's format, then each sum, to nearest even.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from fpemu import context, events, exact
from fpemu.accumulation import fast_loops, threads
from fpemu.accumulation.stepwise import Stepwise
from fpemu.carriers import carrier_dtype, has_step32, has_step64, target_of
from fpemu.chance import Chance
from fpemu.errors import SlowWarning
from fpemu.formats import FP32, FP64, Format
from fpemu.reals import Real, is_finite, size_of
from fpemu.reporting import watched

Example = Callable[[list[str]], str]  # of a step that signalled one of some exceptions


def accumulate_products(
    a: np.ndarray,
    b: np.ndarray,
    formats: tuple[Format, Format, Format],
    c: np.ndarray | None = None,
    *,
    saturation: str = "none",
    place: str = "",
    op: str = "matmul",
    offset: int = 0,
    example: Example | None = None,
) -> np.ndarray:
    """``c + a @ b`` on carriers of shapes (m, k), (k, n) and (m, n), in sequential order.

    `formats` are those of `a`, of `b` and of the accumulator, in whose carrier the result is; `offset`
    is how many terms of the sum came before. `example` describes the step that signalled what is trapped.
    """
    accumulator = formats[2]
    shape = (a.shape[0], b.shape[1])
    start = np.zeros(shape, carrier_dtype(accumulator)) if c is None else c
    carrier = carrier_for(*formats, saturation)
    if watched():
        plan = Stepwise("sequential", formats[:2], accumulator, accumulator, accumulator)
        plan = dataclasses.replace(plan, saturation=saturation)
        if plan.has_kernel(0, (a, b, start)):
            tininess = context.current().tininess
            total, _, seen = plan.run(a, b, start, Chance(), tininess=tininess)
            total = total.astype(carrier_dtype(accumulator))
            record(place, op, accumulator, seen[0], saturation, None, offset, example)
            record(place, op, accumulator, seen[1], saturation, total, offset, example)
            return total
    else:
        fast = fast_loops.run(a, b, start, formats, saturation, carrier)
        if fast is not None:
            return fast
    if carrier and not accumulator.has_nan and not (np.isfinite(a).all() and np.isfinite(b).all()):
        carrier = None  # what NaN becomes in a format without it, the reference knows
    if carrier is None:
        if a.shape[0] * a.shape[1] * b.shape[1] > 10_000:
            names = ", ".join(f.name for f in formats)
            warnings.warn(
                f"products of {names} run in the exact reference, some 20 microseconds each; FP64 "
                "operands are fast with FP64 accumulators only",
                SlowWarning,
                stacklevel=3,
            )
        return _by_reference(a, b, start, accumulator, saturation, place, op, offset, example)
    from fpemu.kernels import counting
    from fpemu.kernels import matmul as kernels

    result = np.array(start, carrier, order="C")
    left, right = (np.ascontiguousarray(v, carrier) for v in (a, b))
    target = target_of(accumulator, saturation, carrier=carrier)
    if carrier == "float32":
        threads.by_rows(lambda x, z: kernels.matmul32(x, right, z, target), left, result)
    elif not watched():
        threads.by_rows(lambda x, z: kernels.matmul64(x, right, z, target, None), left, result)
    else:  # FP64
        counts = counting.nothing()
        kernels.matmul64(left, right, result, target, counts[0])
        record(place, op, accumulator, counts[0], saturation, result, offset, example)
    return result.astype(carrier_dtype(accumulator), copy=False)


@functools.lru_cache(maxsize=512)
def carrier_for(fa: Format, fb: Format, f: Format, saturation: str = "none") -> str | None:
    """The carrier in which rounded multiply-adds are provably the same as exact ones, or None.

    A product of significands of p and q bits has at most p + q bits, so it is exact in a
    carrier of that many, inside the carrier's exponent range. Below float32's range (2**-149)
    it is still harmless if it is too short to reach from the halfway point of the target's
    smallest numbers down to the bits that float32 drops. A sum of two numbers of p bits may be
    rounded to 2p + 2 bits first (Figueroa 1995); a sum below the normal range is exact.
    """
    bits = fa.precision + fb.precision
    if f.fraction_bits == 0 or not all(g.fits_float64 for g in (fa, fb, f)):
        return None  # without a fraction, ties are decided by the exponent's last bit, which the kernels do not do
    if not (f.signed and f.has_zero):
        return None
    if has_step32(f) and all(carrier_dtype(g) == np.float32 for g in (fa, fb, f)):
        lowest = fa.emin - fa.fraction_bits + fb.emin - fb.fraction_bits
        in_range = lowest >= -149 and fa.emax + fb.emax + 2 <= 127
        too_short_to_matter = (f.emin - f.fraction_bits - 1) + 150 + 1 > bits
        # An overflow in the carrier looks like an infinity: the same, unless they are told apart.
        same_overflow = f.has_inf and saturation != "propagate"
        product = bits <= 24 and (in_range or (too_short_to_matter and same_overflow))
        product = product and (f.emax < 127 or same_overflow)  # sums may overflow, too
        native = f == FP32 and fa.precision <= 24 and fb.precision <= 24 and same_overflow
        if native or (product and (2 * f.precision + 2 <= 24 or f == FP32)):
            return "float32"
    if f == FP64:
        return "float64" if saturation != "propagate" else None
    if has_step64(f) and bits <= 53 and 2 * f.precision + 2 <= 53:
        inside = all(g.emin - g.fraction_bits >= -149 and g.emax <= 127 for g in (fa, fb, f))
        return "float64" if inside else None
    return None


def _by_reference(
    a,
    b,
    start,
    f: Format,
    saturation: str,
    place: str,
    op: str,
    offset: int = 0,
    example: Example | None = None,
) -> np.ndarray:
    """The same by `exact`: slow, for formats that no carrier is proven to serve."""
    out = start.astype(np.float64 if f.fits_float64 else object)
    counts: Counter[str] | None = Counter() if watched() else None
    firsts: list[int] = []
    gone = 0
    for i, j in np.ndindex(out.shape):
        accumulator = start.item(i, j)
        for k, (x, y) in enumerate(zip(a[i].tolist(), b[:, j].tolist(), strict=True), offset + 1):
            product = exact.multiply(x, y, f, saturation=saturation)
            total = exact.add(accumulator, product, f, saturation=saturation)
            if counts is not None:
                before = counts["overflow"]
                _count_exactly(counts, "multiply", x, y, product, f, saturation)
                _count_exactly(counts, "add", accumulator, product, total, f, saturation)
                finite = is_finite(accumulator) and is_finite(product)
                counts["swamped"] += finite and product != 0 and total == accumulator
                bits = exact.cancelled_bits(accumulator, product)
                counts["cancelled"] += bits is None or bits > 0
                gone = max(gone, bits or 0)
                firsts += [k] if counts["overflow"] > before else []
            accumulator = total
        out[i, j] = accumulator
    if counts is not None:
        extremes = {"first_overflow": min(firsts, default=None), "bits_cancelled": gone}
        _tell(place, op, f, counts, out, extremes, example)
    return out.astype(carrier_dtype(f))


def _count_exactly(counts, kind, x: Real, y: Real, after: Real, f: Format, saturation) -> None:
    value, _ = exact.exact_result(kind, x, y)
    nonzero = value != 0
    counts["values"] += 1
    counts["nonzero"] += nonzero
    for name in exact.flags_of_operation(kind, x, y, f=f, saturation=saturation):
        counts[name] += 1
        if name == "overflow" and saturation != "none":
            counts["saturated"] += 1
    counts["flushed_to_zero"] += nonzero and after == 0
    counts["subnormal"] += 0 < size_of(after) < f.smallest_normal


def record(
    place: str,
    op: str,
    f: Format,
    seen: np.ndarray,
    saturation: str,
    result: np.ndarray | None = None,
    offset: int | None = 0,
    example: Example | None = None,
) -> None:
    """Tell what a kernel has `seen` in some terms, after `offset` others (None: in no terms)."""
    from fpemu.kernels import counting

    counts = {name: int(seen[getattr(counting, name.upper())]) for name in counting.NAMES}
    counts["flushed_to_zero"] = int(seen[counting.ZEROED])
    counts["saturated"] = counts["overflow"] if saturation != "none" else 0
    first = int(seen[counting.FIRST_OVERFLOW])
    extremes = {
        "first_overflow": None if first < 0 or offset is None else offset + first + 1,
        "bits_cancelled": int(seen[counting.BITS_CANCELLED]),
    }
    _tell(place, op, f, counts, result, extremes, example)


def _tell(
    place: str,
    op: str,
    f: Format,
    counts: Mapping[str, int],
    result: np.ndarray | None,
    extremes: Mapping[str, int | None],
    example: Example | None,
) -> None:
    """Tell the open traces and the `arithmetic` block."""
    events.record(place, op, f.name, counts, result, extremes)
    signalled = {name for name in exact.FLAGS if counts.get(name)}
    context.raise_flags(signalled, op, place, example or (lambda _: f"somewhere in {f.name}"))
