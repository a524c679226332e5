"""What a float64 operation dropped, by error-free transformations; results made odd with it.

All of this is right while nothing overflows or underflows in float64: operands and results with
exponents within plus and minus 300 (see `is_moderate`), or zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "sqrt": np.sqrt,
    "fma": lambda a, b, c: a * b + c,
}


def is_moderate(x: np.ndarray) -> np.ndarray:
    """Whether products, halves and errors of such numbers stay normal float64s (or are zero)."""
    return (x == 0) | ((np.abs(x) > 2.0**-400) & (np.abs(x) < 2.0**400))


def odd(op: str, *operands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`op` with an odd last bit where it is not exact, on the side where the exact result lies,
    and where that is. The operands have few enough bits for exact products (`fma`, `multiply`)."""
    result = np.asarray(NUMPY[op](*operands))
    error = _error(op, result, *operands)
    bits = np.array(result, np.float64).view(np.int64)
    inexact = _dropped(result, error)
    outward = (error > 0) == (result > 0)
    moved = np.where(outward, bits + 1, bits - 1)
    source = np.where(inexact & (bits & 1 == 0), moved, bits).view(np.float64)
    return source, inexact


def odd_only(op: str, *operands: np.ndarray) -> np.ndarray:
    """The first of what `odd` gives, in one pass where the processor multiplies and adds in one."""
    from fpemu.kernels import processor

    if not processor.has("fma"):
        return odd(op, *operands)[0]
    from fpemu.kernels import odd as kernels

    shape = np.broadcast_shapes(*(np.shape(v) for v in operands))
    flat = [
        np.ascontiguousarray(np.broadcast_to(np.asarray(v, np.float64), shape)).reshape(-1)
        for v in operands
    ]
    out = np.empty(shape)
    kernels.odd[op](flat[0], flat[min(1, len(flat) - 1)], flat[-1], out.reshape(-1))
    return out


def is_inexact(op: str, result: np.ndarray, *operands: np.ndarray) -> np.ndarray:
    """Whether the float64 operation dropped bits; with an infinite operand (x / inf) it did not."""
    with np.errstate(all="ignore"):
        if op == "multiply":
            return np.isfinite(result) & (product_error(result, *operands) != 0)
        return _dropped(result, _error(op, result, *operands))


def _dropped(result: np.ndarray, error: np.ndarray) -> np.ndarray:
    return np.isfinite(result) & (error != 0) & ~np.isnan(error)


def _error(op: str, result: np.ndarray, *operands: np.ndarray) -> np.ndarray:
    """A float64 with the sign of the exact result minus `result`; 0 where that is exact.

    Sums by Knuth's two-sum; quotients and roots by their remainder, exact by Dekker's product;
    products of short operands are exact. Meaningless where `result` is not finite.
    """
    match op:
        case "add":
            return _two_sum_error(result, *operands)
        case "subtract":
            return _two_sum_error(result, operands[0], -operands[1])
        case "fma":
            return _two_sum_error(result, operands[0] * operands[1], operands[2])
        case "divide":
            a, b = operands
            return _remainder(a, result, b) * np.sign(b)
        case "sqrt":
            return _remainder(operands[0], result, result)
    return np.zeros_like(result)


def _two_sum_error(total: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    again = total - a
    return (a - (total - again)) + (b - again)


def _remainder(a: np.ndarray, q: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - q * b, exactly, for a q that is the rounded quotient (or root, with b = q)."""
    product = q * b
    return (a - product) - product_error(product, q, b)


def product_error(product: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a * b - product, exactly (Dekker)."""
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x as a sum of two numbers of at most 26 bits (Veltkamp)."""
    scaled = 134217729.0 * x  # 2**27 + 1
    high = scaled - (scaled - x)
    return high, x - high


def minus_zero_of_cancellation(op: str, source: np.ndarray, *operands: np.ndarray) -> np.ndarray:
    """Rounding toward negative, x + (-x) is -0; equal zeros keep their sign (IEEE 754 6.3)."""
    if op not in ("add", "subtract", "fma"):
        return source
    with np.errstate(invalid="ignore"):
        a = operands[0] * operands[1] if op == "fma" else operands[0]
    b = -operands[1] if op == "subtract" else operands[-1]
    alike = (a == 0) & (b == 0) & (np.signbit(a) == np.signbit(b))
    return np.where((source == 0) & ~alike, -0.0, source)
