"""Operations on carriers, element by element, each rounded once to the result's format.

For operands of at most p bits and a result of p <= 25 bits, +, -, *, / and square root computed
in float64 and then rounded to p bits give the same as one rounding of the exact result, because
53 >= 2p + 2 (Figueroa 1995; the products are even exact). FP64 is the processor's own. Any
other format takes the exact reference, element by element: slow, but right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fpemu import events, exact
from fpemu.carriers import carrier_dtype, has_step64
from fpemu.convert import record, round_to
from fpemu.formats import FP64, Format

_NUMPY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "sqrt": np.sqrt,
}
_EXACT: dict[str, Callable[..., float]] = {
    "add": exact.add,
    "subtract": exact.subtract,
    "multiply": exact.multiply,
    "divide": exact.divide,
    "sqrt": exact.sqrt,
}
ARITHMETIC = tuple(_NUMPY)
TRANSCENDENTAL = ("exp", "log")


def apply(
    op: str,
    *operands: np.ndarray,
    f: Format,
    saturation: str = "none",
    place: str = "",
    count_as: str | None = None,
) -> np.ndarray:
    """`op` on carriers whose values belong to `f`, broadcast as NumPy does; the result's carrier.

    `op` is one of `ARITHMETIC` (correctly rounded) or `TRANSCENDENTAL` (float64 within one ulp,
    then rounded once). NaN and infinities as IEEE 754: x/0 is an infinity, 0/0 NaN. Events are
    counted at `place` under the operation's name, or under `count_as`.
    """
    wide = [np.asarray(v, np.float64) for v in operands]
    if op in TRANSCENDENTAL:
        result = _transcendental(op, wide[0])
        return round_to(result, f, saturation, place=place, op=count_as or op)
    if f == FP64 or (f.precision <= 25 and has_step64(f)):
        with np.errstate(all="ignore"):
            result = _NUMPY[op](*wide)
        out = round_to(result, f, saturation, count=False)
        if events.active():
            also_inexact = _dropped_bits(op, result, *wide)
            record(place, count_as or op, result, out, f, saturation, also_inexact=also_inexact)
        return out
    arrays = np.broadcast_arrays(*wide)
    out = np.empty(arrays[0].shape, carrier_dtype(f))
    flat = out.reshape(-1)
    for i, numbers in enumerate(zip(*(a.flat for a in arrays), strict=True)):
        flat[i] = _EXACT[op](*map(float, numbers), f, saturation=saturation)
    return out


def _dropped_bits(op: str, result: np.ndarray, *operands: np.ndarray) -> np.ndarray | None:
    """For counting only: where a float64 sum itself dropped bits (1 + 2**-60), by Knuth's two-sum.

    The other operations cannot hide what they drop: a quotient or root that is not exact is never
    so near to a number of p bits that float64 takes it for one.
    """
    if op not in ("add", "subtract"):
        return None
    a, b = operands[0], operands[1] if op == "add" else -operands[1]
    with np.errstate(all="ignore"):
        again = result - a
        dropped = (a - (result - again)) + (b - again)
    return np.isfinite(result) & (dropped != 0)


def _transcendental(op: str, x: np.ndarray) -> np.ndarray:
    from fpemu.kernels import transcendental

    x = np.asarray(x, np.float64, order="C")
    out = np.empty_like(x)
    {"exp": transcendental.exp, "log": transcendental.log}[op](x.reshape(-1), out.reshape(-1))
    return out
