"""Operations on carriers, element by element, each rounded once to the result's format.

For operands of at most p bits and a result of p <= 25 bits, +, -, *, / and square root computed
in float64 and then rounded to nearest even give the same as one rounding of the exact result,
because 53 >= 2p + 2 (Figueroa 1995; the products are even exact). Other rounding modes, and the
fused multiply-add, do not have that luck: there the float64 result is first made *odd*, its last
bit telling on which side of it the exact result lies, and no later rounding to 51 bits or fewer
can then go wrong (Boldo and Melquiond 2008). The side comes from the error of the float64
operation, which error-free transformations give exactly. FP64 to nearest even is the processor's
own. Anything else takes the exact reference, element by element: slow, but right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fpemu import events, exact
from fpemu.carriers import carrier_dtype, has_step64
from fpemu.convert import record, round_to
from fpemu.formats import FP64, Format

_NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "sqrt": np.sqrt,
    "fma": lambda a, b, c: a * b + c,
}
_EXACT: dict[str, Callable[..., float]] = {
    "add": exact.add,
    "subtract": exact.subtract,
    "multiply": exact.multiply,
    "divide": exact.divide,
    "sqrt": exact.sqrt,
    "fma": exact.fma,
}
ARITHMETIC = tuple(_NUMPY)
TRANSCENDENTAL = ("exp", "log")


def apply(
    op: str,
    *operands: np.ndarray,
    f: Format,
    rounding: str = "nearest_even",
    saturation: str = "none",
    place: str = "",
    count_as: str | None = None,
) -> np.ndarray:
    """`op` on carriers whose values belong to `f`, broadcast as NumPy does; the result's carrier.

    `op` is one of `ARITHMETIC` (correctly rounded in every deterministic mode) or `TRANSCENDENTAL`
    (float64 within one ulp, then rounded once). NaN and infinities as IEEE 754: x/0 is an infinity,
    0/0 NaN. Events are counted at `place` under the operation's name, or under `count_as`.
    """
    wide = [np.asarray(v, np.float64) for v in operands]
    if op in TRANSCENDENTAL:
        result = _transcendental(op, wide[0])
        return round_to(result, f, saturation, rounding=rounding, place=place, op=count_as or op)
    nearest = rounding == "nearest_even" and op != "fma"
    if not (nearest and f == FP64) and not _fits(f):
        return _by_reference(op, wide, f, rounding, saturation)
    with np.errstate(all="ignore"):
        result = np.asarray(_NUMPY[op](*wide))
        error = None if nearest and not events.active() else _error(op, result, *wide)
    source = result
    if not nearest and error is not None:
        source = _to_odd(result, error)
        if rounding == "toward_negative":
            source = _minus_zero_of_cancellation(op, source, *wide)
    out = round_to(source, f, saturation, rounding=rounding, count=False)
    if events.active():
        inexact = None if error is None else _is_inexact(result, error)
        record(place, count_as or op, source, out, f, saturation, rounding, also_inexact=inexact)
    return out


def _fits(f: Format) -> bool:
    """Whether float64 and its error terms have room for operations on values of `f`."""
    return (
        f.precision <= 25 and has_step64(f) and f.emin - f.fraction_bits >= -300 and f.emax <= 300
    )


def _by_reference(op: str, wide, f: Format, rounding: str, saturation: str) -> np.ndarray:
    arrays = np.broadcast_arrays(*wide)
    out = np.empty(arrays[0].shape, carrier_dtype(f))
    flat = out.reshape(-1)
    for i, numbers in enumerate(zip(*(a.flat for a in arrays), strict=True)):
        settings = {"rounding": rounding, "saturation": saturation}
        flat[i] = _EXACT[op](*map(float, numbers), f, **settings)
    return out


def _error(op: str, result: np.ndarray, *operands: np.ndarray) -> np.ndarray | None:
    """A float64 with the sign of the exact result minus `result`; 0 where that is exact.

    Sums by Knuth's two-sum; quotients and roots by their remainder, exact by Dekker's product;
    None for products of short operands, which are exact. Meaningless where `result` is not finite.
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
    return None


def _two_sum_error(total: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    again = total - a
    return (a - (total - again)) + (b - again)


def _remainder(a: np.ndarray, q: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - q * b, exactly, for a q that is the rounded quotient (or root, with b = q)."""
    q_high, q_low = _halves(q)
    b_high, b_low = _halves(b)
    product = q * b
    rest = ((q_high * b_high - product) + q_high * b_low + q_low * b_high) + q_low * b_low
    return (a - product) - rest


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x as a sum of two numbers of at most 26 bits (Veltkamp)."""
    scaled = 134217729.0 * x  # 2**27 + 1
    high = scaled - (scaled - x)
    return high, x - high


def _to_odd(result: np.ndarray, error: np.ndarray) -> np.ndarray:
    """`result` with an odd last bit where it is not exact, on the side where the exact one lies."""
    bits = np.array(result, np.float64).view(np.int64)
    inexact = _is_inexact(result, error) & (bits & 1 == 0)
    outward = (error > 0) == (result > 0)
    return np.where(inexact, np.where(outward, bits + 1, bits - 1), bits).view(np.float64)


def _is_inexact(result: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Whether the float64 operation dropped bits; with an infinite operand (x / inf) it did not."""
    return np.isfinite(result) & (error != 0) & ~np.isnan(error)


def _minus_zero_of_cancellation(op: str, source: np.ndarray, *operands: np.ndarray) -> np.ndarray:
    """Rounding toward negative, x + (-x) is -0; equal zeros keep their sign (IEEE 754 6.3)."""
    if op not in ("add", "subtract", "fma"):
        return source
    a = operands[0] * operands[1] if op == "fma" else operands[0]
    b = -operands[1] if op == "subtract" else operands[-1]
    alike = (a == 0) & (b == 0) & (np.signbit(a) == np.signbit(b))
    return np.where((source == 0) & ~alike, -0.0, source)


def _transcendental(op: str, x: np.ndarray) -> np.ndarray:
    from fpemu.kernels import transcendental

    x = np.asarray(x, np.float64, order="C")
    out = np.empty_like(x)
    {"exp": transcendental.exp, "log": transcendental.log}[op](x.reshape(-1), out.reshape(-1))
    return out
