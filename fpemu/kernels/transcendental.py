"""exp and log in float64 from additions, multiplications and divisions alone.

The C library's functions, and NumPy's vector code, differ by a last bit between machines; these
do the same IEEE operations everywhere, so the bits are the same everywhere. Both err by less
than one float64 ulp (measured against MPFR in the tests), which is enough for a result that is
then rounded to FP32 or narrower to be right except within about 2**-28 of a rounding boundary.
"""

from __future__ import annotations

import math

import numpy as np

from fpemu.kernels.bits import bits64, float64_of
from fpemu.kernels.cache import kernel

# ln 2 in two parts; the high part ends in 21 zero bits, so that n * LN2_HIGH is exact for any
# exponent n. The low part is ln 2 minus that, from ln 2 to 30 digits.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = 1.90821492927058770002e-10
_EXP_TERMS = tuple(1.0 / math.factorial(n) for n in range(3, 15))
_LOG_TERMS = tuple(2.0 / (2 * n + 1) for n in range(1, 12))
_SQRT_HALF = math.sqrt(0.5)


@kernel
def exp(x, out):
    """out = e**x for flat float64 arrays; exp(-inf) = 0, exp(inf) = inf, NaN stays NaN."""
    for i in range(x.size):
        v = min(max(x[i], -800.0), 800.0)
        n = np.rint(v * 1.4426950408889634)
        high = v - n * _LN2_HIGH
        low = n * _LN2_LOW
        r = high - low
        error = (high - r) - low
        tail = 0.0
        for term in _EXP_TERMS[::-1]:
            tail = tail * r + term
        # e**r = 1 + (r + (r**2/2 + r**3 * tail)), the correction of r last but one.
        value = 1.0 + (r + (error + r * r * (0.5 + r * tail)))
        half = np.int64(n) >> 1
        rest = np.int64(n) - half
        scaled = value * float64_of((half + 1023) << 52) * float64_of((rest + 1023) << 52)
        out[i] = scaled if x[i] == x[i] else np.nan


@kernel
def log(x, out):
    """out = ln x for flat float64 arrays; log(0) = -inf, log(inf) = inf, log(< 0) = NaN."""
    for i in range(x.size):
        v = x[i]
        scale = 0.0
        if 0.0 < v < 2.2250738585072014e-308:
            v, scale = v * 2.0**54, -54.0
        bits = bits64(v)
        e = np.float64((bits >> 52) - 1023) + scale
        m = float64_of((bits & 0xFFFFFFFFFFFFF) | (np.int64(1023) << 52))
        if m > 2.0 * _SQRT_HALF:
            m, e = 0.5 * m, e + 1.0
        # ln m = 2 atanh(s), s = (m - 1) / (m + 1), written as d - s*(d - rest) with d = m - 1
        # exact, so that the leading term carries no error of the division.
        d = m - 1.0
        s = d / (2.0 + d)
        square = s * s
        rest = 0.0
        for term in _LOG_TERMS[::-1]:
            rest = (rest + term) * square
        half_square = 0.5 * d * d
        value = e * _LN2_HIGH - ((half_square - (s * (half_square + rest) + e * _LN2_LOW)) - d)
        if v == 0.0:
            value = -np.inf
        elif v < 0.0 or v != v:
            value = np.nan
        elif v == np.inf:
            value = np.inf
        out[i] = value
