"""The steps of `fpemu.exact.matrix_units` and `scaled_units` once more, on arrays of 64-bit integers.

The exact reference takes one sum at a time, about a thousand in a second. This second road takes many, in
NumPy, so that kernels can be compared with it on 100,000 sums per instruction; it is itself compared with
the exact reference on a part of them. It shares no code with the kernels: every number is taken apart
into an integer and a place, sums are integer sums, and rounding cuts integers.

It knows the truncating steps and those of CDNA3; what is left (`judges`) is quick enough, or wider than
64 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fpemu.exact.matrix_units import share_of
from fpemu.formats import FP32, Format

ARITHMETICS = (
    *("truncating", "software", "two_grids", "two_grids_even_odd"),
    *("scaled", "scaled_groups"),
)
_NONE = -(1 << 20)  # the exponent of a zero
_GROUP = 16
_LIMIT = 2.0**128


class Parts(NamedTuple):
    """Numbers taken apart: `significand` (with its sign) times 2**`place`, and the `exponent` that they
    bring to an alignment; `value` as float64 tells what is not finite, whose significand is 0."""

    value: np.ndarray
    significand: np.ndarray
    place: np.ndarray
    exponent: np.ndarray

    def at(self, *index: Any) -> Parts:
        """Some of them."""
        return Parts(*(field[index] for field in self))


def parts(x: np.ndarray, f: Format) -> Parts:
    """Values of `f` taken apart."""
    value = x.astype(np.float64)
    finite = np.where(np.isfinite(value), value, 0.0)
    exponent = np.maximum(np.frexp(finite)[1].astype(np.int64) - 1, f.emin)
    place = exponent - f.fraction_bits
    significand = np.ldexp(finite, -place).astype(np.int64)
    return Parts(value, significand, place, np.where(significand == 0, _NONE, exponent))


def judges(instruction: Any) -> bool:
    """Whether this road knows the instruction."""
    return instruction.arithmetic in ARITHMETICS


def by_integers(a: np.ndarray, b: np.ndarray, c: np.ndarray, instruction: Any) -> np.ndarray:
    """``c + a @ b`` as the instruction computes it, as `fpemu.exact.matrix_unit` does on one sum."""
    size = share_of(a.shape[1], instruction) if instruction.split > 1 else max(a.shape[1], 1)
    total = c.astype(np.float64)
    for k in range(0, a.shape[1], size):
        start = total if k == 0 else np.zeros_like(total)
        share = _chained(a[:, k : k + size], b[k : k + size], start, instruction)
        total = share if k == 0 else _added(total, share, FP32)
    return total.astype(c.dtype)


def _chained(a: np.ndarray, b: np.ndarray, c: np.ndarray, instruction: Any) -> np.ndarray:
    short = -a.shape[1] % instruction.multiple
    left = parts(np.pad(a, ((0, 0), (0, short)))[:, None], instruction.a)
    right = parts(np.pad(b, ((0, short), (0, 0))).T[None], instruction.b)
    step, length, depth = _STEPS[instruction.arithmetic], instruction.length, a.shape[1] + short
    every = instruction.promote or depth
    for first in range(0, depth, every):
        part = np.zeros_like(c) if instruction.promote else c
        for k in range(first, min(first + every, depth), length):
            some = (..., slice(k, k + length))
            part = step(left.at(*some), right.at(*some), part, instruction)
        c = _added(c, part, FP32) if instruction.promote else part
    return c


# -- what steps have in common -----------------------------------------------------------------


def _added(x: np.ndarray, y: np.ndarray, f: Format) -> np.ndarray:
    """x + y in FP32 or FP16: float64 holds sums of FP16, and the processor adds FP32."""
    if f == FP32:
        return (x.astype(np.float32) + y.astype(np.float32)).astype(np.float64)
    return (x + y).astype(np.float16).astype(np.float64)


def _products(x: Parts, y: Parts) -> Parts:
    zero = (x.significand == 0) | (y.significand == 0)
    return Parts(
        x.value * y.value,
        x.significand * y.significand,
        x.place + y.place,
        np.where(zero, _NONE, x.exponent + y.exponent),
    )


def _special(products: np.ndarray, c: np.ndarray, limit: float = np.inf) -> np.ndarray:
    """What infinities and NaN add up to, 0 where there are none."""
    large = np.where(np.abs(products) >= limit, np.copysign(np.inf, products), products)
    odd = np.where(np.isfinite(large), 0.0, large).sum(-1)
    return odd + np.where(np.isfinite(c), 0.0, c)


def _shifted(n: np.ndarray, by: np.ndarray) -> np.ndarray:
    """``n * 2**by``, rounded down."""
    up, down = np.clip(by, 0, 62), np.clip(-by, 0, 63)
    lifted = n << up
    if not np.array_equal(lifted >> up, n):
        raise OverflowError("a sum that 64 bits do not hold")
    return lifted >> down


def _cut(n: np.ndarray, by: np.ndarray) -> np.ndarray:
    """``n * 2**by``, its magnitude rounded down."""
    return np.sign(n) * _shifted(np.abs(n), by)


def _length(n: np.ndarray) -> np.ndarray:
    """How many bits the magnitude of an integer below 2**53 takes."""
    return np.frexp(np.abs(n).astype(np.float64))[1].astype(np.int64)


def _rounded(n: np.ndarray, unit: np.ndarray, f: Format, nearest: bool) -> np.ndarray:
    """``n * 2**unit`` rounded once to `f`, to nearest even or toward zero, overflow giving infinity."""
    place = np.maximum(unit + _length(n) - 1, f.emin) - f.fraction_bits
    size, dropped = np.abs(n), place - unit
    kept = _shifted(size, -dropped)
    if nearest:
        half = np.int64(1) << np.clip(dropped - 1, 0, 61)
        rest = size - _shifted(kept, np.maximum(dropped, 0))
        up = (rest > half) | ((rest == half) & (kept & 1 == 1))
        kept = kept + np.where((dropped > 0) & up, 1, 0)
    with np.errstate(over="ignore"):
        value = np.ldexp(kept.astype(np.float64), place)
    return np.where(value > float(f.max), np.inf, value) * np.where(n < 0, -1.0, 1.0)


# -- the steps -----------------------------------------------------------------------------------


def _truncating(x: Parts, y: Parts, c: np.ndarray, instruction: Any) -> np.ndarray:
    return _aligned(_products(x, y), c, instruction)


def _aligned(addends: Parts, c: np.ndarray, instruction: Any) -> np.ndarray:
    """The truncating sum of addends, along the last axis, and the accumulator."""
    special, own = _special(addends.value, c), parts(c, instruction.accumulator)
    top = np.maximum(np.maximum(addends.exponent.max(-1), own.exponent), instruction.floor)
    unit = top - instruction.bits
    total = _cut(addends.significand, addends.place - unit[..., None]).sum(-1)
    total = total + _cut(own.significand, own.place - unit)
    result = _rounded(total, unit, instruction.output, instruction.nearest) + 0.0
    return np.where(special == 0, result, special)


def _software(x: Parts, y: Parts, c: np.ndarray, instruction: Any) -> np.ndarray:
    k, part = np.arange(instruction.length), np.zeros_like(c)
    for some in (k % 4 < 2, k % 4 >= 2):
        part = _truncating(x.at(..., some), y.at(..., some), part, instruction.inner)
    return _added(part, c, instruction.output)


def _two_grids(x: Parts, y: Parts, c: np.ndarray, instruction: Any) -> np.ndarray:
    products, bits = _products(x, y), instruction.bits
    special, own = _special(products.value, c, _LIMIT), parts(c, FP32)
    both = instruction.arithmetic == "two_grids_even_odd"
    every = [slice(0, None, 2), slice(1, None, 2)] if both else [slice(None)]
    halves = [_first_grid(products.at(..., half), bits) for half in every]
    top = np.max([half_top for half_top, _ in halves], axis=0)
    total = np.sum([_shifted(n, half_top - top) for half_top, n in halves], axis=0)

    c_exponent = np.where(own.significand == 0, FP32.emin, own.exponent)
    common = np.maximum(top, c_exponent)
    unit = common - bits - 8
    addend = _shifted(_shifted(own.significand, own.place - unit - 8), np.full_like(unit, 8))
    dropped = both & (c_exponent < common - bits - 1)
    total = _shifted(total, top - bits - unit) + np.where(dropped, 0, addend)
    place = np.maximum(unit + _length(total) - 1, FP32.emin) - 31
    excess = np.maximum(place - unit, 0)
    result = _rounded(_shifted(total, -excess), unit + excess, FP32, True)
    return np.where(special == 0, np.where(total == 0, 0.0, result), special)


def _first_grid(products: Parts, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest exponent, and the sum in units of 2**(that - bits)."""
    top = products.exponent.max(-1)
    return top, _cut(products.significand, products.place - (top - bits)[..., None]).sum(-1)


_STEPS = {
    "truncating": _truncating,
    "software": _software,
    "two_grids": _two_grids,
    "two_grids_even_odd": _two_grids,
}


# -- block-scaled products -----------------------------------------------------------------------


def scaled_by_integers(
    a: np.ndarray,
    b: np.ndarray,
    scales_a: np.ndarray,
    scales_b: np.ndarray,
    c: np.ndarray,
    instruction: Any,
) -> np.ndarray:
    """The block-scaled product of matrices, as `fpemu.exact.scaled_unit` computes it on one sum."""
    made, k, block = instruction, a.shape[1], instruction.block
    if k == 0:
        return c.copy()
    short = -k % made.length
    more = (k + short) // block - scales_a.shape[1]
    left = np.pad(a, ((0, 0), (0, short)))[:, None], np.pad(b, ((0, short), (0, 0))).T[None]
    right = (
        np.pad(scales_a, ((0, 0), (0, more)), constant_values=1.0)[:, None],
        np.pad(scales_b, ((0, more), (0, 0)), constant_values=1.0).T[None],
    )
    x, y = (parts(v, f) for v, f in zip(left, (made.a, made.b), strict=True))
    scales = _products(*(parts(v, made.scale) for v in right))
    addends = _products(x, y)
    if made.arithmetic == "scaled_groups":
        addends, each = _groups(addends), block // _GROUP
    else:
        each = block
    addends = _scaled(addends, scales.at(..., np.arange(addends.value.shape[-1]) // each), made)
    step, total = made.length * addends.value.shape[-1] // (k + short), c.astype(np.float64)
    for first in range(0, addends.value.shape[-1], step):
        total = _aligned(addends.at(..., slice(first, first + step)), total, made)
    return total.astype(c.dtype)


def _groups(products: Parts) -> Parts:
    """Exact sums of 16 products; they bring no exponent, but take part if any product is not zero."""
    shape = (*products.value.shape[:-1], -1, _GROUP)
    value, significand, place, exponent = (field.reshape(shape) for field in products)
    least = place.min()
    total = _shifted(significand, place - least).sum(-1)
    taking_part = (exponent > _NONE).any(-1)
    return Parts(
        value.sum(-1),
        total,
        np.full(total.shape, least, np.int64),
        np.where(taking_part, 0, _NONE),
    )


def _scaled(addends: Parts, scales: Parts, instruction: Any) -> Parts:
    """Addends times their scales. A scale that is NaN makes NaN; a zero, nothing."""
    none = (addends.exponent == _NONE) | (scales.exponent == _NONE)
    return Parts(
        np.where(np.isfinite(scales.value), addends.value, np.nan),
        addends.significand * scales.significand,
        addends.place + scales.place,
        np.where(none, _NONE, addends.exponent + scales.exponent),
    )
