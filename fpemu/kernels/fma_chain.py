"""Sums of products by fused multiply-adds, one after another, columns side by side."""

from __future__ import annotations

import functools

from fpemu.kernels.cache import kernel
from fpemu.kernels.sequential import fma32, fma64


@functools.cache
def loop(single: bool):
    """The loop for float32 (`single`) or float64: ``c + a @ b`` in place."""

    @kernel
    def run(a, b, c):
        for i in range(a.shape[0]):
            out = c[i]
            for k in range(a.shape[1]):
                x, row = a[i, k], b[k]
                for j in range(out.size):
                    if single:
                        out[j] = fma32(x, row[j], out[j])
                    else:
                        out[j] = fma64(x, row[j], out[j])

    return run
