"""+ - * / and square root on whole arrays, computed and rounded to nearest even in one pass.

The operation runs in the carrier; the caller knows that rounding its result once more is innocent.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from fpemu.kernels.cache import kernel
from fpemu.kernels.step import GENERAL, NARROW, NEAREST_EVEN, masked, narrow, wide

_NO_BITS, _NO_RANDOM = np.int32(0), np.uint64(0)


ADD, SUBTRACT, MULTIPLY, DIVIDE, SQRT = range(5)


@njit(error_model="numpy")
def _operate(op, a, b):
    """`op` is a constant at compile time, and a number, because Numba does not find a kernel in its
    cache again that was made from a function."""
    if op == ADD:
        return a + b
    if op == SUBTRACT:
        return a - b
    if op == MULTIPLY:
        return a * b
    if op == DIVIDE:
        return a / b
    return np.sqrt(a)


def _in_float32(op, single):
    @kernel
    def in_float32(x, y, target, out):
        """out = round(x op y) for flat float32 arrays (`target.kind` is NARROW or MASKED); of y only the
        first element, if `single`."""
        only = y[0]
        if target.kind == NARROW and target.minus_zero:
            for i in range(x.size):
                result = np.float32(_operate(op, x[i], only if single else y[i]))
                out[i] = narrow(result, target, NEAREST_EVEN + GENERAL, _NO_BITS, True)
        elif target.kind == NARROW:
            for i in range(x.size):
                result = np.float32(_operate(op, x[i], only if single else y[i]))
                out[i] = narrow(result, target, NEAREST_EVEN + GENERAL, _NO_BITS, False)
        else:
            for i in range(x.size):
                result = np.float32(_operate(op, x[i], only if single else y[i]))
                out[i] = masked(result, target, NEAREST_EVEN + GENERAL, _NO_BITS)

    return in_float32


def _in_float64(op, single):
    @kernel
    def in_float64(x, y, target, out):
        """The same in float64, from and to flat float32 or float64 (`target.kind` is WIDE)."""
        only = np.float64(y[0])
        for i in range(x.size):
            right = only if single else np.float64(y[i])
            result = _operate(op, np.float64(x[i]), right)
            out[i] = wide(result, target, NEAREST_EVEN, _NO_RANDOM, 0, 0)

    return in_float64


_NAMES = {"add": ADD, "subtract": SUBTRACT, "multiply": MULTIPLY, "divide": DIVIDE, "sqrt": SQRT}
_BOTH = [(name, single) for name in _NAMES for single in (False, True)]
in_float32 = {(name, single): _in_float32(_NAMES[name], single) for name, single in _BOTH}
in_float64 = {(name, single): _in_float64(_NAMES[name], single) for name, single in _BOTH}
