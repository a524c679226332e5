"""The fast inner loops of rounded products and sums: one for each kind of format.

All compute ``c[i, j] = round(c[i, j] + round(a[i, k] * b[k, j]))`` for k = 0, 1, 2, ... as `matmul`
does, rounding to nearest even by fewer instructions than the general step, because something is
known: the format, or that nothing overflows. What must hold is said at each; the caller sees to it.

* `half`: FP16 by the processor's own conversion (F16C).
* `magic`: any format of `step.narrow`, nothing overflowing. Two fused multiply-adds round:
  with E the power of two of x and s = 1.5 * 2**dropped, E*s + x has its last place where the format
  has it, and taking E*s away again is exact. E is kept from falling below the smallest normal for
  products only: sums of two values are whole multiples of the smallest subnormal, so that down there
  nothing is rounded. Whether anything did overflow is seen afterwards, in the largest magnitude.
* `masked`: BF16 and other formats with float32's exponents: half a place added to the bits.
* `native`: FP32, the processor's own.

NaN may come out with any sign.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fpemu.kernels.bits import EXPONENT32, MAGNITUDE32, bits32, float32_of, left32, right32
from fpemu.kernels.cache import kernel


def _half_and_back(typingcontext, value):
    """To half precision and back: `vcvtps2ph` and `vcvtph2ps` where the processor has them."""
    if value != types.float32:
        return None

    def generate(context, builder, signature, arguments):
        return builder.fpext(builder.fptrunc(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.float32), generate


def _multiply_and_add(real):
    def fma(typingcontext, a, b, c):
        """a * b + c, rounded once."""
        if (a, b, c) != (real, real, real):
            return None

        def generate(context, builder, signature, arguments):
            return builder.fma(*arguments)

        return real(real, real, real), generate

    return fma


through_half: Any = intrinsic(_half_and_back)
fma32: Any = intrinsic(_multiply_and_add(types.float32))
fma64: Any = intrinsic(_multiply_and_add(types.float64))


@kernel
def half(a, b, c):
    """FP16, overflow giving infinities."""
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            x, row, out = a[i, k], b[k], c[i]
            for j in range(out.size):
                product = through_half(np.float32(x * row[j]))
                out[j] = through_half(np.float32(out[j] + product))


@njit
def _by_magic(x, low, s):
    e = float32_of(np.int32(max(np.int32(bits32(x) & EXPONENT32), low)))
    return fma32(e, -s, fma32(e, s, x))


@kernel
def magic(a, b, c, smallest_normal, s):
    """Returns the largest magnitude that occurred, as bits: the results are right if the format has
    that number. Operands and `c` must be finite, and `c` without -0."""
    low, none = bits32(smallest_normal), np.int32(0)
    largest = none
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            x, row, out = a[i, k], b[k], c[i]
            for j in range(out.size):
                product = _by_magic(np.float32(x * row[j]), low, s)
                total = _by_magic(np.float32(out[j] + product), none, s)
                largest = max(largest, np.int32(bits32(product) & MAGNITUDE32))
                largest = max(largest, np.int32(bits32(total) & MAGNITUDE32))
                out[j] = total
    return largest


@njit
def _by_mask(x, dropped, mask, almost_half):
    bits = bits32(x)
    odd = np.int32(right32(bits, dropped) & np.int32(1))
    return float32_of(np.int32(np.int32(bits + np.int32(almost_half + odd)) & mask))


@kernel
def masked(a, b, c, dropped):
    """Formats with float32's exponents and infinities; NaN operands must be the quiet one."""
    mask = left32(np.int32(-1), dropped)
    almost_half = np.int32(right32(np.int32(~mask), np.int32(1)))
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            x, row, out = a[i, k], b[k], c[i]
            for j in range(out.size):
                product = _by_mask(np.float32(x * row[j]), dropped, mask, almost_half)
                out[j] = _by_mask(np.float32(out[j] + product), dropped, mask, almost_half)


@njit(forceinline=True)
def _two(total, x, y, p, q):
    """total + x * p, then + y * q, all rounded to float32."""
    total = np.float32(total + np.float32(x * p))
    return np.float32(total + np.float32(y * q))


@kernel
def native(a, b, c):
    """FP32. Two rows and two terms at a time, so that a number read from memory is used four times;
    each element's terms keep their order."""
    rows, terms = a.shape
    for i in range(0, rows - 1, 2):
        above, below = c[i], c[i + 1]
        for k in range(0, terms - 1, 2):
            x, y, v, w = a[i, k], a[i, k + 1], a[i + 1, k], a[i + 1, k + 1]
            first, second = b[k], b[k + 1]
            for j in range(above.size):
                p, q = first[j], second[j]
                above[j] = _two(above[j], x, y, p, q)
                below[j] = _two(below[j], v, w, p, q)
        if terms % 2:
            _add_last(a, b, c, i)
            _add_last(a, b, c, i + 1)
    if rows % 2:
        i = rows - 1
        out = c[i]
        for k in range(0, terms - 1, 2):
            x, y, first, second = a[i, k], a[i, k + 1], b[k], b[k + 1]
            for j in range(out.size):
                out[j] = _two(out[j], x, y, first[j], second[j])
        if terms % 2:
            _add_last(a, b, c, i)


@njit
def _add_last(a, b, c, i):
    last = a.shape[1] - 1
    x, row, out = a[i, last], b[last], c[i]
    for j in range(out.size):
        out[j] = np.float32(out[j] + np.float32(x * row[j]))
