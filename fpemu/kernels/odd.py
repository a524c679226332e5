"""Operations in float64 whose last bit tells on which side of it the exact result lies; see `residual`."""

from __future__ import annotations

import numpy as np

from fpemu.kernels.bits import bits64, float64_of
from fpemu.kernels.cache import kernel
from fpemu.kernels.sequential import fma64

ADD, SUBTRACT, MULTIPLY, DIVIDE, SQRT, FMA = range(6)


def _odd(op):
    @kernel
    def odd(x, y, z, out):
        """out = x op y (op z), made odd where it is not exact; flat float64 arrays."""
        for i in range(out.size):
            a, b = x[i], y[i]
            error = 0.0
            if op == ADD or op == SUBTRACT or op == FMA:
                if op == FMA:
                    a, b = a * b, z[i]
                if op == SUBTRACT:
                    b = -b
                result = a + b
                again = result - a
                error = (a - (result - again)) + (b - again)
            elif op == MULTIPLY:
                result = a * b
            elif op == DIVIDE:
                result = a / b
                rest = fma64(-result, b, a)
                error = rest if b > 0.0 else -rest
            else:
                result = np.sqrt(a)
                error = fma64(-result, result, a)
            bits = bits64(result)
            inexact = (abs(error) > 0.0) & (abs(result) < np.inf)
            step = np.int64(1) if (error > 0.0) == (result > 0.0) else np.int64(-1)
            moved = inexact & ((bits & np.int64(1)) == np.int64(0))
            out[i] = float64_of(np.int64(bits + (step if moved else np.int64(0))))

    return odd


_NAMES = ("add", "subtract", "multiply", "divide", "sqrt", "fma")
odd = {name: _odd(op) for op, name in enumerate(_NAMES)}
