"""Exact sums of products on arrays, rounded once by the caller: in float64 where that is exact, else
in bins of float64 (`kernels.bins`), and what neither holds in Fractions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fpemu import residual
from fpemu.accumulation import threads
from fpemu.formats import FP64, Format
from fpemu.reals import Real


def exact_in_float64(a: np.ndarray, b: np.ndarray, start: np.ndarray) -> np.ndarray | None:
    """``start + a @ b`` exactly, if float64 can hold every partial sum of it in any order; else None.

    All products are whole multiples of 2**(i + j), where 2**i and 2**j are the lowest bits set in any
    element of `a` and of `b`; let u be that, or the lowest bit set in `start` if it is lower. If the sum
    of all magnitudes is below 2**53 u, so is every partial sum, and no addition rounds, whatever order
    and whatever fused operations the library uses.
    """
    if object in (a.dtype, b.dtype, start.dtype):
        return None
    wide = [np.asarray(v, np.float64) for v in (a, b, start)]
    if not all(np.isfinite(v).all() for v in wide) or np.any((wide[2] == 0) & np.signbit(wide[2])):
        return None
    lowest = min(_lowest_bit(wide[0]) + _lowest_bit(wide[1]), _lowest_bit(wide[2]))
    if lowest < -900:
        return None
    largest = [_largest(v) for v in wide]
    bound = max(a.shape[1], 1) * largest[0] * largest[1] + largest[2]
    return wide[2] + wide[0] @ wide[1] if bound < 2.0 ** min(52 + lowest, 1000) else None


def in_bins(
    a: np.ndarray, b: np.ndarray, start: np.ndarray, squares: bool = False, short: bool = True
) -> tuple[np.ndarray, np.ndarray] | None:
    """``start + a @ b`` exactly, as a float64 and an odd rest far below its last place; or None.

    For finite operands (m, k), (k, n) and a start (m, n); with `squares` the terms are those of `b`.
    `short` says that products have at most 53 bits.
    """
    if object in (a.dtype, b.dtype, start.dtype):
        return None
    left, right = (np.ascontiguousarray(v, np.float64) for v in (b if squares else a, b))
    high = np.array(start, np.float64, order="C")
    low = np.zeros_like(high)
    lowest = min(_lowest_bit(left) + _lowest_bit(right), _lowest_bit(high))
    largest = [math.frexp(_largest(v))[1] for v in (left, right, high)]
    highest = max(largest[0] + largest[1], largest[2])
    width = 52 - (2 * len(right) + 1).bit_length()  # so many pieces of a bin stay below 2**52 units
    if lowest < -1074 or highest > 960 or width < 8:
        return None
    from fpemu.kernels import bins

    count = max(-(-(highest - lowest) // width), 1)
    units = [lowest + width * q for q in reversed(range(count))]
    magic = np.array([1.5 * 2.0 ** (52 + s) for s in units])
    loop = bins.loop(short)
    threads.in_pieces(
        lambda i, j: loop(
            left if squares else left[i:j], right, squares, magic, high[i:j], low[i:j]
        ),
        len(high),
        high.size * len(right) * count,
    )
    return high, low


def total(
    a: np.ndarray,
    b: np.ndarray,
    start: np.ndarray,
    f: Format,
    *,
    squares: bool,
    short: bool,
    rounding: str,
    random_bits: int,
    one_by_one: Callable[[int, int], Real],
) -> np.ndarray:
    """The sums, as numbers that round to `f` as the exact ones do: float64, or objects.

    Operands as in `in_bins`, infinities and NaN included. `one_by_one` gives the exact sum of one
    element, for what is left.
    """
    special: np.ndarray | None = None
    if object not in (a.dtype, b.dtype, start.dtype):
        if not all(np.isfinite(v).all() for v in (a, b, start)):
            special = _of_specials(a, b, start, squares)
            a, b, start = (np.where(np.isfinite(v), v, 0.0) for v in (a, b, start))
        direct = None if squares else exact_in_float64(a, b, start)
        pair = in_bins(a, b, start, squares, short) if direct is None else (direct, direct * 0.0)
    else:
        pair = None
    if pair is None:
        everywhere = np.ones(start.shape, bool)
        return _filled(np.zeros(start.shape), everywhere, one_by_one)
    high, low = pair
    random = random_bits if rounding == "stochastic" else 0
    if f.precision + random <= 51:
        with np.errstate(invalid="ignore"):
            source, _ = residual.odd("add", high, low)
        unsure = np.zeros(start.shape, bool)
    elif f == FP64 and rounding == "nearest_even":
        source, unsure = high + low, np.zeros(start.shape, bool)
    else:
        source, unsure = high, low != 0
    # The sign of an exact zero is a story of all terms, unless they began at +0 and met to nearest.
    told = rounding == "toward_negative" or bool(np.any((start == 0) & np.signbit(start)))
    unsure |= (source == 0) & told
    if special is not None:
        decided = ~np.isfinite(special)
        source, unsure = np.where(decided, special, source), unsure & ~decided
    return _filled(source, unsure, one_by_one)


def _of_specials(a: np.ndarray, b: np.ndarray, start: np.ndarray, squares: bool) -> np.ndarray:
    """Infinities and NaN where a sum has such terms; elsewhere some finite number."""
    with np.errstate(invalid="ignore"):
        left, right, begin = (np.where(np.isfinite(v), np.sign(v), v) for v in (a, b, start))
        if squares:
            return begin + np.sum(right * right, axis=0)
        return np.stack(
            [x + np.sum(row[:, None] * right, 0) for x, row in zip(begin, left, strict=True)]
        )


def _filled(
    source: np.ndarray, where: np.ndarray, one_by_one: Callable[[int, int], Real]
) -> np.ndarray:
    if not where.any():
        return source
    out = source.astype(object)
    for i, j in np.argwhere(where).tolist():
        out[i, j] = one_by_one(i, j)
    return out


def _largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def _lowest_bit(x: np.ndarray) -> int:
    """The exponent of the lowest bit set in any element (a large number if all are zero)."""
    from fpemu.kernels import bins

    return int(bins.lowest_bit(np.ascontiguousarray(x).reshape(-1)))
