"""A judge of rounding that shares no code with fpemu: a search among all values of a format.

The values of the format, continued beyond the largest as if exponents had no end, stand in a
sorted list whose index is the code. The exact result is looked up there; where it lies between two
of them is decided by comparisons that are exact in float64, because all numbers are short: a
quotient a/b against g is the comparison of a with g * b. It serves + - * / in 8-bit formats, and
results that come as float64 with an odd last bit where they are not exact.
"""

from __future__ import annotations

import numpy as np

import fpemu as fp


def grid_of(f: fp.Format) -> np.ndarray:
    """Magnitudes by code, from 0 (or the smallest, if there is no zero) to far beyond the largest."""
    per_binade = 1 << f.fraction_bits
    step = 2.0 ** (f.emin - f.fraction_bits)
    subnormal = np.arange(per_binade) * step if f.has_zero else np.zeros(0)
    exponents = np.arange(f.emin, 2 * f.emax - 2 * f.emin + 8)
    exponents = exponents[exponents < 500]
    significands = 1 + np.arange(per_binade) / per_binade
    return np.concatenate([subnormal, (np.ldexp(1.0, exponents)[:, None] * significands).ravel()])


class Odd:
    """Float64 numbers, exact or with an odd last bit, comparable with short numbers."""

    divisor = 1.0

    def __init__(self, value: np.ndarray, f: fp.Format) -> None:
        self.negative = np.signbit(value)
        # Far above and far below every value of the format all are alike.
        size = np.clip(np.abs(value), f.smallest_subnormal * 2.0**-60, 8 * f.max)
        self.number = np.where(value == 0, 0, size)
        self.near = self.number

    def compare(self, g: np.ndarray) -> np.ndarray:
        return np.sign(self.number - g)


class Exact:
    """|a op b| exactly, comparable with short numbers."""

    def __init__(self, op: str, a: np.ndarray, b: np.ndarray) -> None:
        self.divisor = np.ones_like(a)
        if op == "divide":
            self.number, self.divisor = np.abs(a), np.abs(b)
            self.negative = np.signbit(a) != np.signbit(b)
        else:
            # Products of so few bits are exact.
            value = a * b if op == "multiply" else _sum(a, b if op == "add" else -b)
            self.number, self.negative = np.abs(value), np.signbit(value)
        self.near = self.number / self.divisor

    def compare(self, g: np.ndarray) -> np.ndarray:
        return np.sign(self.number - g * self.divisor)


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b, the smaller one enlarged to 2**-40 of the larger, which changes no decision and
    keeps the sum exact."""
    large, small = np.where(np.abs(a) >= np.abs(b), a, b), np.where(np.abs(a) >= np.abs(b), b, a)
    least = np.abs(large) * 2.0**-40
    small = np.where((small != 0) & (np.abs(small) < least), np.copysign(least, small), small)
    return large + small


def judge(
    op: str, a: np.ndarray, b: np.ndarray, f: fp.Format, mode: str, saturation: str
) -> np.ndarray:
    """a op b for values of `f` rounded to `f`."""
    with np.errstate(all="ignore"):
        return _judge(op, a, b, f, mode, saturation)


def infinity_of(f: fp.Format) -> float:
    return np.inf if f.has_inf else np.nan if f.has_nan and "p3109" not in f.encoding else f.max


def place(r: Exact | Odd, f: fp.Format, mode: str, saturation: str = "none") -> np.ndarray:
    """Finite results rounded to `f`, as if it had a sign and zeros of both signs."""
    grid = grid_of(f)
    offset = 0
    if not f.has_zero:
        grid, offset = np.concatenate([[0.0], grid]), 1
    low = np.clip(np.searchsorted(grid, r.near, "right") - 1, 0, grid.size - 2)
    low = np.where(r.compare(grid[low]) < 0, low - 1, low)
    low = np.where(r.compare(grid[low + 1]) >= 0, low + 1, low)
    exact = r.compare(grid[low]) == 0
    middle = r.compare((grid[low] + grid[np.minimum(low + 1, grid.size - 1)]) / 2)
    odd = ((low - offset) % 2 == 1) & (low >= offset)
    away = {
        "nearest_even": (middle > 0) | ((middle == 0) & odd),
        "nearest_away": middle >= 0,
        "toward_zero": np.zeros(low.shape, bool),
        "toward_positive": ~r.negative,
        "toward_negative": r.negative,
        "to_odd": ~odd,
    }[mode]
    index = low + (away & ~exact)
    magnitude = grid[index]

    infinity = infinity_of(f)
    over = index - offset > f.max_code
    beyond = {
        "toward_zero": np.full(low.shape, f.max),
        "toward_positive": np.where(r.negative, f.max, infinity),
        "toward_negative": np.where(r.negative, infinity, f.max),
        "to_odd": np.full(low.shape, infinity if f.has_inf and f.max_code % 2 == 0 else f.max),
    }.get(mode, np.full(low.shape, infinity))
    if saturation != "none":
        beyond = np.full(low.shape, f.max)
    return np.where(over, beyond, magnitude) * np.where(r.negative, -1.0, 1.0)


def _judge(op, a, b, f, mode, saturation):
    plain = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}
    value = plain[op](a, b)
    special = ~np.isfinite(a) | ~np.isfinite(b) | ((op == "divide") & (b == 0))
    r = Exact(op, np.where(special, 1.0, a), np.where(special, 1.0, b))
    result = place(r, f, mode, saturation)
    infinity = infinity_of(f)

    # Exact zero sums, and the specials, by the rules of IEEE 754 sections 6 and 7.
    if op in ("add", "subtract"):
        second = b if op == "add" else -b
        alike = np.signbit(a) == np.signbit(second)
        zero = np.where(alike & (a == 0), a, -0.0 if mode == "toward_negative" else 0.0)
        result = np.where(~special & (a + second == 0) & (a == -second), zero, result)
    infinite = f.max if saturation == "finite" else infinity
    result = np.where(special & np.isinf(value), np.copysign(infinite, value), result)
    result = np.where(special & np.isfinite(value), value, result)
    result = np.where(np.isnan(value) & special, np.nan, result)
    if not f.signed:
        low_end = f.min if saturation != "none" or "p3109" in f.encoding else np.nan
        negative = (result < 0) | (~f.has_zero & (np.where(special, value, 0) < 0))
        below = negative if f.has_zero else negative | (~special & r.negative)
        result = np.where(below, low_end, result)
        if not f.has_zero:
            true_zero = (~special & (r.number == 0)) | (special & (value == 0))
            result = np.where(true_zero, low_end, np.where(result == 0, f.min, result))
    return result if f.has_negative_zero else np.where(result == 0, 0.0, result)
