"""Compensated sums to nearest even in one format, each rounding by the cheapest way that is right.

Corrections are of the accumulator's format, too. `kind` says how a step rounds: HALF by the
processor's conversion (FP16), NARROW and MASKED by the general step of `step` in float32, NATIVE not
at all, because the operation in the arrays' own type rounds (FP32, FP64). NaN may come out with any sign.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import njit

from fpemu.kernels.cache import kernel
from fpemu.kernels.sequential import through_half
from fpemu.kernels.step import GENERAL, NARROW, NEAREST_EVEN, masked, narrow

HALF, NATIVE = 10, 11  # beside MASKED and NARROW


@njit(forceinline=True)
def _rounded(x, kind, minus_zero, target):
    if kind == NATIVE:
        return x
    y = np.float32(x)  # it is one already, but Numba types this for float64, too
    if kind == HALF:
        return through_half(y)
    if kind == NARROW:
        return narrow(y, target, NEAREST_EVEN + GENERAL, np.int32(0), minus_zero)
    return masked(y, target, NEAREST_EVEN + GENERAL, np.int32(0))


@functools.cache
def loop(neumaier: bool, kind: int, minus_zero: bool):
    """The loop of one of the two methods: c and error += a @ b, for (m, k), (k, n) and (m, n)."""

    @kernel
    def run(a, b, c, error, target):
        for i in range(a.shape[0]):
            for k in range(a.shape[1]):
                x, y, total, lost = a[i, k], b[k], c[i], error[i]
                for j in range(total.size):
                    term = _rounded(x * y[j], kind, minus_zero, target)
                    before = total[j]
                    if neumaier:
                        after = _rounded(before + term, kind, minus_zero, target)
                        first = abs(before) >= abs(term)
                        large, small = (before, term) if first else (term, before)
                        rest = _rounded(large - after, kind, minus_zero, target)
                        rest = _rounded(rest + small, kind, minus_zero, target)
                        lost[j] = _rounded(lost[j] + rest, kind, minus_zero, target)
                    else:
                        term = _rounded(term - lost[j], kind, minus_zero, target)
                        after = _rounded(before + term, kind, minus_zero, target)
                        gained = _rounded(after - before, kind, minus_zero, target)
                        lost[j] = _rounded(gained - term, kind, minus_zero, target)
                    total[j] = after

    return run
